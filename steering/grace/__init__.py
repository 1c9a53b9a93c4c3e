"""Making models safer: attacks on a request, losses that separate safe from unsafe states, and other defences."""
