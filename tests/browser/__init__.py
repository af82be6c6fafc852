"""The pages in a real browser: outside ``make test``, for that would have to fetch one."""
