"""For ryu-manager beside `rest_api`: has it wait for what clients send or read for a second only, and serve few."""

from ryu_apps.api import http

http.SILENT_S = 1.0
http.PATIENCE_S = 1.0
http.PLACES = 4
