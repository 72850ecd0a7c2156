"""The files of an agent's TLS: which are refused and in which words, and how they are renewed."""

from __future__ import annotations

import ssl

import pytest
from cryptography.hazmat.primitives import serialization

from pyobshell.address import Address
from pyobshell.security import tls
from pyobshell.security.tls import Tls, TlsFileError, calling_context, read_certificate
from pyobshell.settings import Settings
from support.certificates import Certified, signed_by_himself

OWN = Address("127.0.0.7", 2886)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return Certified(tmp_path_factory.mktemp("foreign"), "another CA")


@pytest.fixture
def certified(tmp_path):
    return Certified(tmp_path / "certified")


@pytest.fixture
def settings(certified, tmp_path):
    def make(days=30, **more):
        files = {**certified.files(OWN, days), "tls_ca": certified.ca, **more}
        return Settings(ip=OWN.ip, base_dir=tmp_path, **files)

    return make


def shown_by(agent_tls, client):
    """The SHA-256 of what an agent shows to a client."""
    tls._shake_hands(client, agent_tls.serving, OWN.ip)
    return agent_tls.certificate.sha256


def test_without_a_certificate_and_where_it_is_off_no_tls_is_spoken(settings, tmp_path):
    assert Tls.of(Settings(ip=OWN.ip, base_dir=tmp_path)) is None
    assert Tls.of(settings(tls="off", tls_cert="/nowhere")) is None


def test_modern_is_what_is_offered(settings):
    for context in (Tls(settings()).serving, Tls(settings()).calling):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        ciphers = [one["name"] for one in context.get_ciphers()]
        assert len(ciphers) > 5
        assert [name for name in ciphers if not name.startswith(("TLS_", "ECDHE-"))] == []
        assert [name for name in ciphers if "GCM" not in name and "CHACHA20" not in name] == []
        assert not context.options & ssl.OP_NO_TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED


def spoil(file, content=b"spoilt"):
    file.write_bytes(content)


def of_no_version(cert):
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    return ssl.DER_cert_to_PEM_cert(
        der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09")
    ).encode()


def encrypt(file):
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    spoil(file, key.private_bytes(*form, secret))


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (lambda cert, key, ca: cert.unlink(), "{cert}: no such file"),
        (lambda cert, key, ca: key.unlink(), "{key}: no such file"),
        (lambda cert, key, ca: ca.unlink(), "{ca}: no such file"),
        (lambda cert, key, ca: spoil(cert), "{cert} holds no certificate in PEM"),
        (lambda cert, key, ca: spoil(cert, of_no_version(cert)), "{cert} holds no certificate"),
        (lambda cert, key, ca: spoil(key), "{key} holds no private key in PEM"),
        (lambda cert, key, ca: spoil(ca), "{ca} holds no certificates in PEM"),
        (lambda cert, key, ca: spoil(ca, b""), "{ca} holds no certificates in PEM"),
        (lambda cert, key, ca: encrypt(key), "{key} is encrypted"),
        (lambda cert, key, ca: key.chmod(0o640), "{key} may be used by others.* chmod 600"),
        (lambda cert, key, ca: key.chmod(0o604), "{key} may be used by others.* chmod 600"),
        (lambda cert, key, ca: ca.chmod(0o646), "{ca} may be written by anybody; chmod o-w"),
        (lambda cert, key, ca: spoil(ca, ca.parent.joinpath("o").read_bytes()), "local issuer"),
        (lambda cert, key, ca: spoil(key, ca.parent.joinpath("k").read_bytes()), "not the key of"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_nothing_changes(
    settings, certified, foreign, do, words
):
    declared = settings()
    running, client = Tls(declared), certified.context(*certified.client)
    shown = shown_by(running, client)
    certified.directory.joinpath("o").write_bytes(foreign.ca.read_bytes())
    certified.directory.joinpath("k").write_bytes(foreign.client[1].read_bytes())
    files = {"cert": declared.tls_cert, "key": declared.tls_key, "ca": certified.ca}
    do(*files.values())
    for load in (running.read, lambda: Tls(declared)):
        with pytest.raises(TlsFileError, match=words.format(**files)) as refused:
            load()
        assert "secret" not in str(refused.value)
    assert shown_by(running, client) == shown


def test_new_connections_get_the_new_certificate(settings, certified):
    running, client = Tls(settings()), certified.context(*certified.client)
    before = shown_by(running, client)
    settings()
    running.renew(running.read())
    assert shown_by(running, client) != before


def test_files_that_change_while_they_are_read_are_read_again(settings, monkeypatch):
    running, load, readings = Tls(settings()), Tls._load, []

    def changing(self, **more):
        readings.append(load(self, **more))
        if len(readings) not in (2, 6):
            settings()
        return readings[-1]

    monkeypatch.setattr(Tls, "_load", changing)
    assert running.read() is readings[1]
    with pytest.raises(TlsFileError, match="change while they are read"):
        running.read()
    assert running.read() is readings[5]


def test_a_client_of_a_new_ca_is_let_in_and_one_of_the_old_no_longer(settings, certified):
    running, old = Tls(settings()), certified.context(*certified.client)
    shown_by(running, old)
    new = Certified(certified.directory)  # in the place of the old
    new.files(OWN)
    running.renew(running.read())
    shown_by(running, new.context(*new.client))
    with pytest.raises(ssl.SSLError):
        shown_by(running, old)


def test_whoever_has_signed_his_own_certificate_goes_when_it_is_trusted_no_more(
    settings, certified, tmp_path
):
    cert, key = certified.keep("own", signed_by_himself())
    both = tmp_path / "both.crt"
    both.write_bytes(certified.ca.read_bytes() + cert.read_bytes())
    agent_tls, ended = Tls(settings(tls_ca=both)), []
    shown_by(agent_tls, certified.context(cert, key))
    agent_tls.serve(lambda: ended.append(cert))
    agent_tls.renew(agent_tls.read())
    assert ended == []
    both.write_bytes(certified.ca.read_bytes())
    agent_tls.renew(agent_tls.read())
    assert ended == [cert]


def test_what_has_expired_is_used_at_a_start_and_refused_when_renewed(settings, capsys):
    running = Tls(settings(days=-1))
    assert "the certificate has expired" in capsys.readouterr().out
    with pytest.raises(TlsFileError, match="expired on 2"):
        running.renew(running.read())


def test_that_a_certificate_will_expire_is_said_in_time(settings, capsys):
    Tls(settings(days=29))
    assert "expires soon" in capsys.readouterr().out
    Tls(settings(days=31))
    assert "expires soon" not in capsys.readouterr().out


def test_a_certificate_for_another_address_is_refused(settings, certified):
    files = certified.files(OWN._replace(ip="127.0.0.8"))
    with pytest.raises(TlsFileError, match="IP address mismatch"):
        Tls(settings(**files))


def test_a_client_needs_no_key_of_its_own_file(certified):
    cert, key = certified.client
    both = certified.directory / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    calling_context(certified.ca, both)
    with pytest.raises(TlsFileError, match="may be used by others"):
        calling_context(certified.ca, cert)


def test_a_certificate_for_a_client_makes_no_agent(settings, certified):
    cert, key = certified.keep("posing", certified.authority.for_client(OWN.ip))
    with pytest.raises(TlsFileError):
        Tls(settings(tls_cert=cert, tls_key=key))


def test_a_certificate_tells_its_time(settings, certified):
    found = read_certificate(settings(days=10).tls_cert)
    assert 9.9 < found.days_left(tls.now()) < 10
    assert len(found.sha256) == 64
