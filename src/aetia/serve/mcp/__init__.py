"""The Model Context Protocol: a few bounded tools over the operations, for clients that are language models.

`catalog` says what there is, `answering` answers one call whatever the transport, `binding` is the only module that
knows the SDK's server, `mount` puts it under `/mcp`, `proxy` speaks stdio for a server that runs elsewhere.
"""
