#!/usr/bin/env bash
# Werkzeug 3.1.9, Babel 2.19.0, Tornado 6.6.1: for zh-Hant-TW an app with zh-Hant answers in English.
#
# Systems name some languages by language, script and region: zh-Hant-TW, sr-Latn-RS. A site has one
# translation for the script, zh-Hant, and by RFC 4647 (section 3.4, lookup) zh-Hant-TW leads to it.
# Werkzeug's best_match, which Flask-Babel's guide uses, tries the whole tag and then the language
# alone, and so does Babel's negotiate_locale: nothing is found, and the reader gets the default, or a
# later language of the list. Tornado's get_browser_locale finds zh_Hant for no header at all, not
# even for zh-Hant. With de-AT and pt-BR, which such code is tried with, all works. Django 5.2.19 and
# WebOb 1.8.11 find zh-Hant. Anyone whose readers write Chinese, Serbian or Uzbek is affected; a
# second entry for zh-TW helps with some. Our pages and the button look the language up as the RFC says.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet flask==3.1.3 werkzeug==3.1.9 babel==2.19.0 tornado==6.6.1 \
    django==5.2.19 webob==1.8.11 legacy-cgi==2.6.4
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import tornado.locale
from babel import negotiate_locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from django import setup
from django.conf import settings
from django.test import RequestFactory
from django.utils.translation import get_language_from_request
from flask import Flask, request
from tornado.web import RequestHandler
from webob.acceptparse import create_accept_language_header

for name in ("flask", "werkzeug", "babel", "tornado", "django", "webob"):
    print(name, version(name))
SITE = ["en", "de", "zh-Hant", "sr-Latn"]
READERS = ["de-AT", "zh-Hant", "zh-Hant-TW", "sr-Latn-RS"]
flask_app = Flask("site")


def werkzeug(header):
    with flask_app.test_request_context(headers={"Accept-Language": header}):
        return request.accept_languages.best_match(SITE, default="en")


def babel(header):
    return negotiate_locale([header], SITE, sep="-") or "en"


def with_tornado(header):
    handler = SimpleNamespace(request=SimpleNamespace(headers={"Accept-Language": header}))
    return RequestHandler.get_browser_locale(handler).code


def django(header):
    asked = RequestFactory().get("/", headers={"Accept-Language": header})
    return get_language_from_request(asked)


def webob(header):
    return create_accept_language_header(header).lookup(SITE, default="en")


settings.configure(
    LANGUAGES=[(tag.lower(), tag) for tag in SITE], LANGUAGE_CODE="en", USE_I18N=True
)
setup()
for tag in SITE:
    folder = Path("locale", tag.replace("-", "_"), "LC_MESSAGES")
    folder.mkdir(parents=True)
    with folder.joinpath("site.mo").open("wb") as file:
        write_mo(file, Catalog(tag.replace("-", "_"), domain="site"))
tornado.locale.load_gettext_translations("locale", "site")
tornado.locale.set_default_locale("en")
seen = {}
for lookup in (werkzeug, babel, with_tornado, django, webob):
    seen[lookup.__name__] = [lookup(reader).lower().replace("_", "-") for reader in READERS]
    print(f"{lookup.__name__}: " + ", ".join(
        f"{reader} {found}" for reader, found in zip(READERS, seen[lookup.__name__])))
right = ["de", "zh-hant", "zh-hant", "sr-latn"]
if seen != {
    "werkzeug": ["de", "zh-hant", "en", "en"],
    "babel": ["de", "zh-hant", "en", "en"],
    "with_tornado": ["de", "en", "en", "en"],
    "django": right,
    "webob": right,
}:
    raise SystemExit(f"the behaviour has changed: {seen}")
PYTHON
# Seen:
#   flask 3.1.3
#   werkzeug 3.1.9
#   babel 2.19.0
#   tornado 6.6.1
#   django 5.2.19
#   webob 1.8.11
#   werkzeug: de-AT de, zh-Hant zh-hant, zh-Hant-TW en, sr-Latn-RS en
#   babel: de-AT de, zh-Hant zh-hant, zh-Hant-TW en, sr-Latn-RS en
#   with_tornado: de-AT de, zh-Hant en, zh-Hant-TW en, sr-Latn-RS en
#   django: de-AT de, zh-Hant zh-hant, zh-Hant-TW zh-hant, sr-Latn-RS sr-latn
#   webob: de-AT de, zh-Hant zh-hant, zh-Hant-TW zh-hant, sr-Latn-RS sr-latn
