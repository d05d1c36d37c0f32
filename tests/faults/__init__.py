"""The fault suite: real loads under faults, and a checker of its own that says whether anything was lost or doubled.

``worker`` runs the stages in processes that can be killed at any step, ``simulator`` sets up what they work on,
``expected`` derives from the legacy rows what Medplum must hold, ``checker`` reads Medplum and the manifest by its own
means and compares. Expected and checker share no code with the loader.

``MEDFERRY_FAULT_SEEDS`` sets the number of random simulations (12 by default); from 100 on, the kills are enumerated
at every step that the worker can name, and not only at those that change something durable.

Missing until they are built: lanes that shrink and recover.
"""
