"""The service that answers Label Studio's clicks with masks."""

import maskloop  # noqa: F401 it tells torch's threads how to wait, which torch reads when it is imported
