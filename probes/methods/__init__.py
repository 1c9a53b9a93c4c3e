"""Methods that read representations: one file a probe, registered in `probes/__init__.py`."""
