"""Results of functions, kept in a store: equal calls are computed once, in all processes that share it."""

from anystore.caching.decorator import anycache as anycache
from anystore.caching.entries import CacheStats as CacheStats
from anystore.caching.functions import AsyncCache as AsyncCache
from anystore.caching.functions import Cache as Cache
from anystore.caching.functions import CachedCoroutine as CachedCoroutine
from anystore.caching.functions import CachedFunction as CachedFunction
