#!/usr/bin/env bash
# WebKitGTK 2.50.6: Back shows a page that was sent with no-store, if it came over plain http.
#
# Cache-Control: no-store tells a browser to keep nothing of a page. WebKit keeps whole pages in
# memory for Back and Forward, and excludes those with no-store only if they came by https: by http
# Back shows the page as it was left, without a request. So in development, and behind anything that
# offers plain http in a company's network, a private page comes back after the logout, and a form
# that should be fresh is not; a browser test that passes by https fails by http. This affects
# anyone who tests a logout with WebKit on http://localhost. Our browser tests of Back and no-store
# run by https, and the page on browsers says what WebKit does by http.
# Needs Debian's python3-gi, gir1.2-webkit2-4.1 and xvfb, which pip cannot install.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
import='import gi; gi.require_version("WebKit2", "4.1")'
if ! /usr/bin/python3 -c "$import" || ! command -v xvfb-run >/dev/null; then
    echo "install python3-gi, gir1.2-webkit2-4.1 and xvfb first" >&2
    exit 1
fi
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
    -keyout "$folder/key" -out "$folder/certificate" 2>/dev/null
cat >"$folder/pages.py" <<'PYTHON'
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("WebKit2", "4.1")

from gi.repository import GLib, Gtk, WebKit2

requests = []


class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        requests.append(self.path)
        page = b"<!doctype html><title>page</title>" + self.path.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        if self.path == "/private":
            self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


def serve(is_secure):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    if is_secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{sys.argv[1]}/certificate", f"{sys.argv[1]}/key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"{'https' if is_secure else 'http'}://127.0.0.1:{server.server_port}"


def requests_for_back(is_secure):
    """Return how often the private page is requested: once, and again at Back."""
    origin = serve(is_secure)
    requests.clear()
    view = WebKit2.WebView()
    view.get_website_data_manager().set_tls_errors_policy(WebKit2.TLSErrorsPolicy.IGNORE)
    window = Gtk.Window()
    window.add(view)
    window.show_all()
    finished = []
    view.connect("load-changed", lambda _, event: finished.append(event))

    def run(action):
        finished.clear()
        action()
        late = []
        timer = GLib.timeout_add_seconds(60, late.append, True)
        while WebKit2.LoadEvent.FINISHED not in finished and not late:
            Gtk.main_iteration()
        if late:
            raise SystemExit("a page did not load")
        GLib.source_remove(timer)

    run(lambda: view.load_uri(f"{origin}/private"))
    run(lambda: view.load_uri(f"{origin}/other"))
    run(view.go_back)
    window.destroy()
    return requests.count("/private")


version = (WebKit2.get_major_version(), WebKit2.get_minor_version(), WebKit2.get_micro_version())
print("WebKitGTK", ".".join(map(str, version)))
found = {"http": requests_for_back(False), "https": requests_for_back(True)}
print("requests for the private page, with one Back to it:", found)
if found != {"http": 1, "https": 2}:
    raise SystemExit("the behaviour has changed")
PYTHON
export HOME="$folder" XDG_RUNTIME_DIR="$folder"
xvfb-run --auto-servernum /usr/bin/python3 "$folder/pages.py" "$folder" 2>"$folder/log" ||
    { cat "$folder/log" >&2; exit 1; }
# Seen:
#   WebKitGTK 2.50.6
#   requests for the private page, with one Back to it: {'http': 1, 'https': 2}
