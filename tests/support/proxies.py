"""nginx and Apache: where they are, and what is around the part that a test adds.

Both run in a folder of the test's, as the user who runs the tests.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
MODULES = Path("/usr/lib/apache2/modules")
#: The programs; None for one that is not installed.
NGINX = shutil.which("nginx", path=_PATH)
APACHE = shutil.which("apache2", path=_PATH) if MODULES.is_dir() else None

#: Takes the folder, and a page for within ``http``.
AROUND_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {page}
}}
"""
#: Takes the folder, the port, `MODULES`, and a page for the end.
AROUND_APACHE = """
ServerRoot {folder}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {folder}/apache.pid
Mutex file:{folder}
ErrorLog {folder}/error.log
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
{page}
"""
