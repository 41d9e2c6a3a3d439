"""The fault kit: a pytest plugin that tests one's own streams against real servers and real faults.

How to use it: `docs/testing.md`. ``place.py`` a test's own corner of the servers · ``servers.py`` broker and HDFS ·
``topics.py``, ``files.py``, ``network.py`` faults as plain functions · ``crash.py``, ``child.py`` drains that are
really killed · ``ledger.py`` what a table says · ``soak/`` all of it at random · ``plugin.py`` the fixtures.
"""
