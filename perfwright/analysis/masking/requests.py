"""A request as results and later steps carry it where literals are masked."""

from typing import TypeVar

from perfwright.analysis.masking.sql_values import masked
from perfwright.models.index_strategy import IndexStrategyRequest
from perfwright.models.query_performance import QueryPerformanceRequest

RequestT = TypeVar("RequestT", QueryPerformanceRequest, IndexStrategyRequest)


def shown_request(request: RequestT) -> RequestT:
    """Its own SQL without values, whichever server it is for. The input itself is recorded as it was given."""
    if not request.mask_literals or not request.statements:
        return request
    statements = tuple(masked(masked(text, quoted_names=False), "mysql") for text in request.statements)
    return request.model_copy(update={"statements": statements})
