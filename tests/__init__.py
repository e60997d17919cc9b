"""The tests meet the scripts one by one, whether or not a bundle of them was made in this checkout; those of the bundle
(tests/browser/test_bundle.py) make their own. ``OPENKITCHEN_DIST_DIR=static/dist`` has any other test meet that one."""

import os

os.environ.setdefault("OPENKITCHEN_DIST_DIR", "/nonexistent")
