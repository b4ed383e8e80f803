"""What a running JVM says of its flags."""

from perfwright.analysis.gc.candidates import jvm_candidates, memory_words
from perfwright.analysis.gc.jvm_flags import read_jvm_flags
from perfwright.models.gc_tuning import GcIssue

SAID = """30669:
   size_t G1HeapRegionSize                         = 1048576                                   {product} {ergonomic}
    uintx G1PeriodicGCInterval                     = 0                                      {manageable} {default}
     bool HeapDumpAfterFullGC                      = false                                  {manageable} {default}
     intx HeapDumpGzipLevel                        = 0                                      {manageable} {default}
    ccstr HeapDumpPath                             =                                        {manageable} {default}
    uintx MaxHeapFreeRatio                         = 70                                     {manageable} {default}
   size_t MaxHeapSize                              = 67108864                                  {product} {command line}
     bool UseG1GC                                  = true                                      {product} {command line}
     bool UseSerialGC                              = false                                     {product} {default}
"""
"""JDK 17, shortened."""


def test_facts_of_g1() -> None:
    """Collector, heap, regions, and the numbers about memory that it takes while it runs."""
    facts = read_jvm_flags(SAID, "17.0.15")
    assert (facts.collector, facts.heap_max_bytes, facts.region_bytes) == ("G1", 64 << 20, 1 << 20)
    assert facts.settable == ("G1PeriodicGCInterval=0", "MaxHeapFreeRatio=70") and facts.version == "17.0.15"


def test_what_is_not_told_is_not_known() -> None:
    """No flags at all, or two collectors at once: nothing is made up."""
    assert read_jvm_flags("", "").collector == "unknown" and read_jvm_flags("", "").heap_max_bytes is None
    assert read_jvm_flags(SAID.replace("false", "true"), "").collector == "unknown"


def test_words_about_memory() -> None:
    """Neither properties, which may be secrets, nor paths, nor the program's own arguments."""
    command = ("java", "-Xmx2g", "-Dpassword=hunter2", "-XX:+UseG1GC", "-XX:HeapDumpPath=/var/secret", "-cp", "a.jar", "App", "-Xss")
    assert memory_words(command) == ("-Xmx2g", "-XX:+UseG1GC", "-Xss")


def test_own_words_give_way() -> None:
    """The JVM takes the last of two words for the same thing, and the command's own stand behind ours."""
    command = ("java", "-XX:MaxGCPauseMillis=500", "-XX:-ExplicitGCInvokesConcurrent", "-XX:MaxGCPauseMillisOther=1", "-jar", "app.jar")
    issues = [GcIssue.model_construct(cause="young"), GcIssue.model_construct(cause="explicit call")]
    found = {
        one.name: one.launch.without
        for one in jvm_candidates(command, "", read_jvm_flags(SAID, "17.0.15"), ["G1"], issues, 5.0, 1 << 34)
        if one.launch
    }
    assert found["G1 aiming at 5 ms"] == ("-XX:MaxGCPauseMillis=500",)
    assert found["explicit calls beside the program"] == ("-XX:-ExplicitGCInvokesConcurrent",)
    assert found["heap of 128 MiB"] == ()
