"""``twistd hardhttp``: where to find its options and its service."""

from twisted.application.service import ServiceMaker

hardhttp = ServiceMaker(
    "hardhttp",
    "hardhttp.tap",
    "A bounded HTTP and Server-Sent-Events server.",
    "hardhttp",
)
