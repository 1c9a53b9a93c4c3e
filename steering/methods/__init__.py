"""Methods that write on representations: one file a method, registered in `steering/__init__.py`."""
