"""The simulator of parallel adoption: the program's own cycle over two systems in memory, in simulated time.

``world`` makes a legacy database and a manifest in SQLite, and ``medplum`` a Medplum that answers the program's own
client (``http``); ``users`` work on both sides, and ``schedule`` says what happens, by a seed or by enumeration: acts
of users between any two acts of the program, kills at each of these (``acts``), requests that are lost, late, repeated
or refused, searches that lag, clocks that disagree and change. When all is quiet, ``checker`` tells what was lost,
doubled or left unequal; ``planted`` proves that it does.

It runs in a process of its own, because its time is simulated (``clock``): ``python -m tests.simulator seeds 17 18``.
"""
