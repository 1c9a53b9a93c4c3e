"""Files of other projects, written from ours and read into ours."""
