"""For ryu-manager beside `rest_api`: has it close connections that are silent for a second."""

from ryu_apps.api import http

http.SILENT_S = 1.0
