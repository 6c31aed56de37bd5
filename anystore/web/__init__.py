"""HTTP for whoever needs it: a guarded fetcher, listings, and whole listings folder by folder."""
