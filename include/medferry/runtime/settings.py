"""Where the systems are. On the command line they come from the environment, in Airflow from its connections."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medferry.errors import SettingsError
from medferry.medplum.http import PLAIN_HTTP, HttpSettings
from medferry.source.shown_keys import show_keys_by
from medferry.store.keys import EVIDENCE_KEY, PEPPER, Key, KeyMissing, Keyring, keys_from
from medferry.store.pepper import Pepper

_VARIABLES = {
    "source_url": "MEDFERRY_SOURCE_URL",
    "capture_url": "MEDFERRY_CAPTURE_URL",
    "legacy_writer_url": "MEDFERRY_LEGACY_WRITER_URL",
    "medplum_base_url": "MEDFERRY_MEDPLUM_BASE_URL",
    "medplum_client_id": "MEDFERRY_MEDPLUM_CLIENT_ID",
    "medplum_client_secret": "MEDFERRY_MEDPLUM_CLIENT_SECRET",
    "manifest_url": "MEDFERRY_MANIFEST_URL",
    "decision_url": "MEDFERRY_DECISION_URL",
    "staging_url": "MEDFERRY_STAGING_URL",
    "store_key_file": "MEDFERRY_STORE_KEY_FILE",
    "store_key_command": "MEDFERRY_STORE_KEY_COMMAND",
    "evidence_key_file": "MEDFERRY_EVIDENCE_KEY_FILE",
    "evidence_key_command": "MEDFERRY_EVIDENCE_KEY_COMMAND",
    "pepper_file": "MEDFERRY_PEPPER_FILE",
    "pepper_command": "MEDFERRY_PEPPER_COMMAND",
    "routing_file": "MEDFERRY_ROUTING_FILE",
    "routing_webhook": "MEDFERRY_ROUTING_WEBHOOK",
    "routing_webhook_secret": "MEDFERRY_ROUTING_WEBHOOK_SECRET",
}
PLAIN_STAGING = "MEDFERRY_PLAIN_STAGING"
STORE_OPTIONS = "MEDFERRY_STORE_OPTIONS"
SHOW_KEYS = "MEDFERRY_SHOW_KEYS"
_PROBE = re.compile(r"MEDFERRY_PROBE_([A-Z0-9_]+)_CLIENT_ID")
SETTLE_SECONDS = 600.0
"""No server or gateway that is known holds a request for longer."""

_DEFAULTS = {"manifest_url": "sqlite:///build/manifest.db", "staging_url": "build/staging"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses and credentials; those with passwords are left out of its printed form."""

    source_url: str = field(default="", repr=False)
    source_arguments: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    """What the driver's ``connect`` is given beside the URL; only a connection of Airflow has any."""
    capture_url: str = field(default="", repr=False)
    """The legacy database under an account that may write the journal of changes; the source's own without."""
    capture_arguments: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    legacy_writer_url: str = field(default="", repr=False)
    """The legacy database under an account that may write the tables of the inverses, and nothing else."""
    legacy_writer_arguments: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    medplum_base_url: str = ""
    medplum_client_id: str = ""
    medplum_client_secret: str = field(default="", repr=False)
    medplum_http: HttpSettings = field(default_factory=HttpSettings)
    """TLS, proxy, headers and time."""
    manifest_url: str = field(default=_DEFAULTS["manifest_url"], repr=False)
    decision_url: str = field(default="", repr=False)
    """The manifest under the role by which people decide; as `manifest_url` without."""
    staging_url: str = _DEFAULTS["staging_url"]
    store_options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    """What the package of an object store is given, such as credentials, for the staging area and the reports."""
    store_keys: str = field(default="", repr=False)
    """Keys of the protected store, as ``store.keys`` reads them; only a connection of Airflow has any."""
    store_key_file: str = ""
    store_key_command: str = field(default="", repr=False)
    """Prints the keys; where they are in a vault."""
    evidence_key_file: str = ""
    evidence_key_command: str = field(default="", repr=False)
    """Prints the key that signs the evidence of a wave that is over."""
    pepper_keys: str = field(default="", repr=False)
    """Peppers, as ``store.keys`` reads keys; only a connection of Airflow has any."""
    pepper_file: str = ""
    pepper_command: str = field(default="", repr=False)
    """Prints the peppers; where they are in a vault."""
    digest_keys: bool = False
    """Whether source keys are shown as digests."""
    routing_file: str = ""
    """Where the routing is published as flag definitions of flagd."""
    routing_webhook: str = field(default="", repr=False)
    """A URL that is told of each change of the routing; none by default."""
    routing_webhook_secret: str = field(default="", repr=False)
    plain_staging: bool = False
    """Whether patient data may be staged without a key for a Medplum that is not on this machine."""
    probes: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False, hash=False)
    """Name in gate.yaml → client id and secret of a probe: a user of Medplum under the policy of a unit's users."""
    settle_seconds: float = SETTLE_SECONDS
    """How long a batch that got no answer may be at work in Medplum: nothing of it is sent again sooner, unless a
    look-up has told its end."""

    @property
    def keys(self) -> Keyring | None:
        """The keys of the protected store; None: what it holds is in plain text. Raises KeyMissing."""
        return keys_from(self.store_keys, self.store_key_file, self.store_key_command)

    @property
    def pepper(self) -> Pepper | None:
        """What protects the manifest's hashes, and shown keys; None: hashes can be tried. Raises KeyMissing."""
        ring = keys_from(self.pepper_keys, self.pepper_file, self.pepper_command, PEPPER)
        return Pepper(ring) if ring else None

    def show_keys(self) -> None:
        """Have source keys shown in this process as these settings say. Raises KeyMissing."""
        if not self.digest_keys:
            show_keys_by(None)
        elif (pepper := self.pepper) is not None:
            show_keys_by(pepper.shown)
        else:
            problem = f"Keys are to be shown as digests ({SHOW_KEYS}), and there is no pepper."
            raise KeyMissing(problem, "Make one and give it: docs/runbooks/pepper.md.")

    @property
    def evidence_key(self) -> Key:
        """What signs the evidence of a wave that is over: the newest. Raises KeyMissing."""
        found = keys_from("", self.evidence_key_file, self.evidence_key_command, EVIDENCE_KEY)
        if found is None:
            raise KeyMissing(
                f"There is no key to sign the evidence with ({EVIDENCE_KEY}_FILE, {EVIDENCE_KEY}_COMMAND).",
                "Make one (`openssl rand -base64 32`), apart from the store's, and keep it: docs/runbooks/retire.md.",
            )
        return found.newest

    def probe(self, name: str) -> tuple[str, str]:
        """Client id and secret of a probe. Raises SettingsError."""
        found = self.probes.get(name, ("", ""))
        if not all(found):
            variables = f"{probe_variable(name, 'CLIENT_ID')} and {probe_variable(name, 'CLIENT_SECRET')}"
            raise SettingsError(
                f"The probe {name} of gate.yaml has no credentials.",
                f"Set {variables}, or the Airflow connection medferry_probe_{name}.",
            )
        return found

    def require(self, *names: str) -> None:
        """Raises SettingsError naming the variables among `names` that are not set."""
        missing = [_VARIABLES[name] for name in names if not getattr(self, name)]
        if missing:
            told = "is not set" if len(missing) == 1 else "are not set"
            remedy = "Export it" if len(missing) == 1 else "Export them"
            raise SettingsError(
                f"{', '.join(missing)} {told}.", f"{remedy}, or set the Airflow connection in its place."
            )


def settings_from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the MEDFERRY_* variables; what is missing is found out when it is needed."""
    values: dict[str, Any] = {
        name: environment.get(variable) or _DEFAULTS.get(name, "") for name, variable in _VARIABLES.items()
    }
    return Settings(
        **values,
        store_options=_options(environment),
        medplum_http=_http(environment),
        plain_staging=_allowed(PLAIN_STAGING, environment),
        digest_keys=_shows_digests(environment),
        probes=_probes(environment),
        settle_seconds=_seconds("MEDFERRY_SETTLE_SECONDS", environment),
    )


def plain_hosts(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The hosts beyond this machine that may be reached without TLS."""
    return tuple(host.strip().lower() for host in environment.get(PLAIN_HTTP, "").split(",") if host.strip())


def _http(environment: Mapping[str, str]) -> HttpSettings:
    """Raises SettingsError for a key without its certificate."""
    certificate, key = (environment.get(f"MEDFERRY_MEDPLUM_CERTIFICATE{end}", "") for end in ("", "_KEY"))
    if key and not certificate:
        raise SettingsError(
            "MEDFERRY_MEDPLUM_CERTIFICATE is not set, but its key is.", "Name the file of the certificate, too."
        )
    return HttpSettings(
        verify=environment.get("MEDFERRY_MEDPLUM_CA") or True,
        certificate=tuple(file for file in (certificate, key) if file),
        plain_hosts=plain_hosts(environment),
    )


def _options(environment: Mapping[str, str]) -> dict[str, Any]:
    """Raises SettingsError, which quotes nothing, for what is no JSON object."""
    try:
        options = json.loads(environment.get(STORE_OPTIONS) or "{}")
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise SettingsError(
            f"{STORE_OPTIONS} is no JSON object.", 'Correct it, as in {"endpoint_url": "https://minio.example"}.'
        )
    return options


def probe_variable(name: str, what: str) -> str:
    """The variable that has the client id or secret of a probe."""
    return f"MEDFERRY_PROBE_{name.upper()}_{what}"


def _probes(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    names = [found[1].lower() for variable in environment if (found := _PROBE.fullmatch(variable))]
    return {
        name: (
            environment.get(probe_variable(name, "CLIENT_ID"), ""),
            environment.get(probe_variable(name, "CLIENT_SECRET"), ""),
        )
        for name in names
    }


def _allowed(variable: str, environment: Mapping[str, str]) -> bool:
    """Raises SettingsError for a word that is neither yes nor no: a slip must not decide about patient data."""
    word = environment.get(variable, "").strip().lower()
    if word not in ("", "no", "yes"):
        raise SettingsError(f"{variable} is neither yes nor no.", "Correct it; without it the answer is no.")
    return word == "yes"


def _shows_digests(environment: Mapping[str, str]) -> bool:
    """Raises SettingsError for a word that is neither: a slip must not show what is to be hidden."""
    word = environment.get(SHOW_KEYS, "").strip().lower()
    if word not in ("", "plain", "digest"):
        raise SettingsError(f"{SHOW_KEYS} is neither plain nor digest.", "Correct it; without it keys are shown plain.")
    return word == "digest"


def _seconds(variable: str, environment: Mapping[str, str]) -> float:
    """Raises SettingsError for what is no positive number of seconds."""
    try:
        seconds = float(environment.get(variable) or SETTLE_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise SettingsError(
            f"{variable} is not a positive number of seconds.", f"Correct it; {SETTLE_SECONDS:g} is usual."
        )
    return seconds
