"""The target registry, `perfwright.toml`: parsed whole, every error at once.

`parse_registry(text)` is pure; reading the file is the activities' business.
"""
