"""A request as results and later steps carry it where literals are masked."""

from perfwright.analysis.masking.sql_values import masked
from perfwright.models.query_performance import QueryPerformanceRequest


def shown_request(request: QueryPerformanceRequest) -> QueryPerformanceRequest:
    """Its own SQL without values, whichever server it is for. The input itself is recorded as it was given."""
    if not request.mask_literals or not request.statements:
        return request
    statements = tuple(masked(masked(text, quoted_names=False), "mysql") for text in request.statements)
    return request.model_copy(update={"statements": statements})
