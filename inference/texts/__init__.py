"""Two public-domain texts: ``household_management.txt`` to measure quality on, ``walden.txt`` to calibrate with."""
