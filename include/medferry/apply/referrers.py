"""What refers to some resources: searched by every search parameter of FHIR R4 that can name their type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from medferry.apply.twins import References
from medferry.fhir.reference_parameters import referring_parameters
from medferry.fhir.references import references
from medferry.medplum.client import PAGE, MedplumClient
from medferry.medplum.errors import MedplumUnavailable, RequestFailed, RequestRefused, Unauthorised


def find_referrers(client: MedplumClient, resource_type: str, ids: Sequence[str]) -> References:
    """Everything that refers to resources (at most 100) of a type.

    A search that is refused or fails, a match that names none of them and a full page are told as unchecked.
    """
    places = {f"{resource_type}/{medplum_id}" for medplum_id in ids}
    found: dict[str, set[str]] = defaultdict(set)
    unchecked = []
    for kind, parameter in referring_parameters(resource_type):
        form = [(parameter, ",".join(sorted(places))), ("_count", str(PAGE))]
        try:
            matches = [entry["resource"] for entry in client.search(kind, form).get("entry", [])]
        except (RequestFailed, RequestRefused, Unauthorised):
            unchecked.append(f"{kind}?{parameter}")
            continue
        except MedplumUnavailable:
            unchecked.append(f"{kind}?{parameter}")
            break  # each further search would wait as long as this one
        named = [{each["reference"] for each in references(match)} & places for match in matches]
        for match, targets in zip(matches, named, strict=True):
            for place in targets:
                found[place].add(f"{match['resourceType']}/{match['id']}")
        if len(matches) >= PAGE or not all(named):
            unchecked.append(f"{kind}?{parameter}")
    return References({place: sorted(by) for place, by in found.items()}, tuple(unchecked))
