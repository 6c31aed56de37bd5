"""The conformance suite: the contract of ``Backend`` as tests."""

from anystore.testing.exclusive import Exclusive
from anystore.testing.expiring import Expiring
from anystore.testing.listing import Listing
from anystore.testing.reading import Reading
from anystore.testing.writing import Writing


class BackendSuite(Reading, Writing, Listing, Exclusive, Expiring):
    """Every promise of the contract, tested by pytest on one backend.

    Derive a class whose name starts with ``Test``, and give it a fixture ``backend``: a
    fresh, empty backend for each test. A backend that only reads overrides ``place`` and
    ``remove`` too; one that writes does so to have its values read behind its back.
    The suite asks ``backend.features``: what is declared must work, what is not must be refused.

    Example:
        >>> import pytest
        >>> from anystore.backends.memory import MemoryBackend
        >>> class TestMemory(BackendSuite):
        ...     @pytest.fixture
        ...     def backend(self):
        ...         return MemoryBackend("mine")
    """
