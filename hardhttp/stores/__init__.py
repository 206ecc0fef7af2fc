"""Where sessions are kept: in memory, in an SQLite file or in Redis."""
