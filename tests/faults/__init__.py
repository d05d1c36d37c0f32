"""The fault suite: real loads under faults, and a checker of its own that says whether anything was lost or doubled.

``worker`` runs the stages in processes that can be killed at any step, ``simulator`` sets up what they work on,
``expected`` derives from the legacy rows what Medplum must hold, ``checker`` reads Medplum and the manifest by its own
means and compares. Expected and checker share no code with the loader.

``MEDFERRY_FAULT_SEEDS`` sets the number of random simulations (12 by default); from 100 on, the kills are enumerated
at every step that the worker can name, and not only at those that change something durable.

| Fault | Test |
|---|---|
| SIGKILL at every step, and at random | ``test_kills``, ``test_random`` |
| an answer lost after the commit, or given up by a gateway before it; a run replayed three times | ``test_server`` |
| lost answers, kills, take-overs, a lost lock, lag, hidden writes, a failing database | ``test_sent`` |
| all of these in combination, with stalls of 1 s to 10 min and a user's edits, in simulated time | ``test_combined`` |
| one slice and two workers; two runs of one scope | ``test_concurrency`` |
| 429 for requests and inside a 200; failures of mixed kinds in one batch | ``test_server`` |
| a 200 that stored nothing | ``test_server`` |
| 409 storm, 5xx, a slow server, a restart in mid-batch | ``test_server`` (the lanes: tests/medplum/test_limiter.py) |
| tokens that run out or are revoked, a secret that is revoked | ``test_access`` |
| 1 % poison rows, a mapping bug on every row, a server that refuses all | ``test_rows`` |
| 8 writers on the legacy side with long transactions, rollbacks, cascades, TRUNCATE | ``test_capture`` |
| the manifest gone, disks full | ``test_surroundings`` |
"""
