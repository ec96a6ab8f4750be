"""For ryu-manager beside `rest_api`: has it serve two clients at a time, and wait a second for them to read."""

from ryu_apps.api import http

http.PATIENCE_S = 1.0
http.PLACES = 2
