"""Registers lipbench's own rules when it is imported: every file in ``rules``."""

from lipbench._internal.discovery import import_modules
from lipbench.certification.lipschitz import rules

import_modules(rules)
