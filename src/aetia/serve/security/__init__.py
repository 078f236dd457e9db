"""Who may ask what: tokens and sessions, addresses and origins, limits on heads, headers of answers."""
