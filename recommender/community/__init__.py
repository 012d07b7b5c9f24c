"""Measurements that people share: what is shared, where it is kept, which of it counts, and what it corrects.

Off unless the setting ``community`` names a place. Nothing is shared but what a person saw and agreed to, run by run.
"""

from __future__ import annotations
