"""All statements with a planted plan problem."""

from tests.perfwright.analysis.plans.planted_access import ACCESS
from tests.perfwright.analysis.plans.planted_case import Planted
from tests.perfwright.analysis.plans.planted_work import WORK

PLANTED: tuple[Planted, ...] = ACCESS + WORK
