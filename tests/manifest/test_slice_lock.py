"""Who works at a slice holds it as long as he works: not after he has failed, and not after he has died."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from medferry.manifest.slice_lock import SliceBusy, only_worker


def test_a_slice_is_one_worker_s_at_a_time(manifest: sa.Engine) -> None:
    with only_worker(manifest, "r", "s"):
        with pytest.raises(SliceBusy), only_worker(manifest, "r", "s"):
            pass
        with only_worker(manifest, "r", "other"):
            pass
    with only_worker(manifest, "r", "s"):
        pass


def test_who_has_failed_holds_nothing_in_a_process_that_goes_on(manifest: sa.Engine) -> None:
    with pytest.raises(ZeroDivisionError), only_worker(manifest, "r", "s"):
        _ = 1 // 0
    another = sa.create_engine(manifest.url)
    with only_worker(another, "r", "s"):
        pass
    another.dispose()
