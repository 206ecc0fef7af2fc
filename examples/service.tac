"""A site as a service: run it with ``twistd -ny examples/service.tac``; PORT in the environment says where."""

import os

from twisted.application.service import Application
from twisted.web.static import File

from hardhttp import Site, service

directory = os.environ.get("WEBROOT", ".")
port = os.environ.get("PORT", "8080")

application = Application("files")
service(Site(File(directory)), f"tcp:{port}:interface=127.0.0.1").setServiceParent(application)
