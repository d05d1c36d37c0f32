"""What Airflow asks of a provider: the Medplum connection type and its form.

Found through ``medferry_airflow_provider.dist-info`` beside this package; imports nothing.
"""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's description (schema: airflow/provider_info.schema.json)."""
    return {
        "package-name": "medferry-airflow-provider",
        "name": "Medferry",
        "description": "Migration of health records to Medplum.",
        "connection-types": [
            {
                "connection-type": "medplum",
                "hook-class-name": "medferry_airflow.hook.MedplumHook",
                "hook-name": "Medplum",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port"],
                    "relabeling": {"host": "Base URL", "login": "Client id", "password": "Client secret"},
                    "placeholders": {
                        "host": "https://api.medplum.com/",
                        "login": "id of the ClientApplication",
                        "password": "secret of the ClientApplication",
                        "extra": '{"verify": "/etc/ssl/hospital.pem", "proxies": {"https": "http://proxy:3128"}}',
                    },
                },
            }
        ],
    }
