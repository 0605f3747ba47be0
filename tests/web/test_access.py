"""Who may read what: tokens with roles, a browser's cookie, only this machine where no token is set."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from callkpi import config
from callkpi.config import ConfigError, Role, Token
from callkpi.web import access, problems, signin
from callkpi.web.access import COOKIE_SECONDS, RIGHTS, Access, Reader, Right
from callkpi.web.tries import TRIES, Tries

WALL, LEAD, BOSS = "wall-token-0123456789", "lead-token-0123456789", "boss-token-0123456789"


def settings(**server: str) -> config.Settings:
    tokens = {
        "wall": Token(WALL, Role.VIEWER, ("north",)),
        "lead": Token(LEAD, Role.SUPERVISOR, ("north", "south")),
        "boss": Token(BOSS, Role.MANAGER),
    }
    return config.Settings(
        tenants={"north": config.Tenant(), "south": config.Tenant()},
        server=config.Server(**{"api_token": "old-token", **server}),  # type: ignore[arg-type]
        tokens=tokens,
    )


OPEN = config.Settings()


@contextlib.asynccontextmanager
async def served(settings: config.Settings) -> AsyncIterator[aiohttp.ClientSession]:
    """Pages that say who asks: /read for figures, /work for the work list of the south."""
    app = web.Application(middlewares=[problems.middleware, access.middleware, signin.middleware])
    access.install(app, settings)

    async def read(request: web.Request) -> web.Response:
        return web.Response(text=access.require(request).name)

    async def work(request: web.Request) -> web.Response:
        return web.Response(text=access.require(request, Right.WORK, "south").name)

    app.add_routes(signin.routes())
    app.add_routes([web.get("/read", read), web.get("/work", work), web.post("/work", work)])
    jar = aiohttp.CookieJar(unsafe=True)
    async with TestServer(app) as server, aiohttp.ClientSession(server.make_url("/"), cookie_jar=jar) as http:
        yield http


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_each_token_is_its_reader_and_the_old_one_an_admin() -> None:
    async with served(settings()) as http:
        for token, name in ((WALL, "wall"), (LEAD, "lead"), (BOSS, "boss"), ("old-token", "api_token")):
            assert await (await http.get("/read", headers=bearer(token))).text() == name
            assert await (await http.get(f"/read?token={token}")).text() == name
    assert Access(settings()).by_token("old-token") == Reader("api_token", Role.ADMIN)


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        ("", 401, "Authorization: Bearer"),
        ("wrong", 401, "Authorization: Bearer"),
        (WALL[:-1], 401, "Authorization: Bearer"),
        (WALL, 403, "needs the role supervisor or higher; wall is viewer"),
        (LEAD, 200, "lead"),
        (BOSS, 200, "boss"),
    ],
)
async def test_a_role_that_is_too_low_and_a_stranger_are_told_apart(token: str, status: int, words: str) -> None:
    async with served(settings()) as http:
        answer = await http.get("/work", headers=bearer(token) if token else {})
        assert answer.status == status and words in await answer.text()
        assert ("WWW-Authenticate" in answer.headers) is (status == 401)


async def test_another_tenants_figures_are_refused() -> None:
    only_north = Token(LEAD, Role.ADMIN, ("north",))
    tree = config.Settings(tenants={"north": config.Tenant(), "south": config.Tenant()}, tokens={"lead": only_north})
    async with served(tree) as http:
        answer = await http.get("/work", headers=bearer(LEAD))
        assert answer.status == 403 and "may read north" in await answer.text()


def test_a_role_has_the_rights_of_those_below_and_only_its_tenants() -> None:
    lead = Reader("lead", Role.SUPERVISOR, frozenset({"north"}))
    had = {right for right in RIGHTS if lead.may(right)}
    assert had == {Right.FIGURES, Right.AGENTS, Right.WORK_LIST, Right.WORK}
    assert lead.may(Right.WORK, "north") and not lead.may(Right.WORK, "south")
    assert lead.may(Role.VIEWER) and not lead.may(Role.MANAGER)
    assert all(Reader("root", Role.ADMIN).may(right, "anything") for right in Right)
    assert RIGHTS.keys() == set(Right)


# -- browsers ---------------------------------------------------------------------------------------------

PAGE = {"Accept": "text/html,application/xhtml+xml"}


async def test_a_browser_shows_its_token_once_and_gets_an_address_without_it() -> None:
    async with served(settings()) as http:
        moved = await http.get(f"/read?by=queue&token={WALL}&x=1", headers=PAGE, allow_redirects=False)
        assert (moved.status, moved.headers["Location"]) == (303, "/read?by=queue&x=1")
        assert (moved.headers["Referrer-Policy"], moved.headers["Cache-Control"]) == ("no-referrer", "no-store")
        cookie = moved.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie and WALL not in cookie
        assert await (await http.get("/read", headers=PAGE)).text() == "wall"
        assert await (await http.get("/read", headers=bearer(BOSS))).text() == "boss"
        assert (await http.get("/read", headers=bearer("wrong"))).status == 401


async def test_a_wrong_token_in_the_address_gives_no_cookie_and_no_way_out_of_this_host() -> None:
    async with served(settings()) as http:
        answer = await http.get("/read?token=wrong", headers=PAGE)
        assert answer.status == 401 and "Set-Cookie" not in answer.headers
        moved = await http.get(
            URL(f"{http._base_url}/evil.example/read?token={WALL}", encoded=True), headers=PAGE, allow_redirects=False
        )
        assert moved.status == 303 and moved.headers["Location"] == "/evil.example/read"


async def test_a_cookie_is_secure_behind_tls() -> None:
    async with served(settings()) as http:
        headers = {**PAGE, "X-Forwarded-Proto": "https"}
        moved = await http.get(f"/read?token={WALL}", headers=headers, allow_redirects=False)
        assert "Secure" in moved.headers["Set-Cookie"]


async def test_another_sites_page_can_not_use_the_cookie() -> None:
    async with served(settings()) as http:
        await http.get(f"/read?token={BOSS}", headers=PAGE)
        own = f"http://{http._base_url.authority}"  # type: ignore[union-attr]
        assert (await http.post("/work", headers={"Origin": own})).status == 200
        assert (await http.post("/work", headers={"Origin": "http://evil.example"})).status == 401


def test_a_cookie_dies_with_its_token_with_time_and_by_any_change() -> None:
    known, now = Access(settings()), time.time()
    cookie = known.cookie(Reader("wall", Role.VIEWER), now)
    found = known.by_cookie(cookie, now)
    assert found is not None and (found[0].name, found[1]) == ("wall", False)
    assert (known.by_cookie(cookie, now + 2 * 86400) or ("", None))[1] is True
    assert known.by_cookie(cookie, now + COOKIE_SECONDS + 1) is None
    boss = known.cookie(Reader("boss", Role.MANAGER), now)
    name, until, signature = cookie.split(".")
    for forged in (
        f"{boss.split('.')[0]}.{until}.{signature}", f"{name}.{int(until) + 9}.{signature}", f"{name}.{until}.",
        "", "..", f"{name}.²³.{signature}", cookie[:-1], cookie + "0", "\x80.1.2",
    ):  # fmt: skip
        assert known.by_cookie(forged, now) is None, forged
    changed = config.Settings(tokens={"wall": Token("another-token-012345")})
    assert Access(changed).by_cookie(cookie, now) is None


async def test_who_opens_a_page_without_a_token_is_asked_for_one_and_gets_that_page() -> None:
    async with served(settings()) as http:
        asked = await http.get("/read?x=1", headers=PAGE)
        page = await asked.text()
        assert (asked.status, asked.content_type) == (401, "text/html")
        assert "form-action 'self'" in asked.headers["Content-Security-Policy"] and "<script" not in page
        assert 'action="/signin?next=%2Fread%3Fx%3D1"' in page
        russian = await (await http.get("/read", headers={**PAGE, "Accept-Language": "ru-RU,ru;q=0.9"})).text()
        assert 'lang="ru"' in russian and "Ваш токен" in russian
        wrong = await http.post("/signin?next=%2Fread", data={"token": "wrong"}, headers=PAGE)
        assert wrong.status == 401 and "Nobody has this token" in await wrong.text()
        opened = await http.post("/signin?next=%2Fread%3Fx%3D1", data={"token": WALL}, headers=PAGE)
        assert (await opened.text(), opened.url.path_qs) == ("wall", "/read?x=1")
        for elsewhere in ("//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example"):
            moved = await http.post("/signin", params={"next": elsewhere}, data={"token": WALL}, allow_redirects=False)
            assert moved.headers["Location"].startswith("/") and not moved.headers["Location"].startswith("//")


async def test_tokens_can_not_be_guessed_at_the_door() -> None:
    async with served(settings()) as http:
        tried = [await http.post("/signin", data={"token": f"guess-{number}"}) for number in range(11)]
        assert [answer.status for answer in tried] == [401] * 10 + [429]
        assert tried[-1].headers["Retry-After"] == "1"


# -- no token at all --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8090"}, 200),
        ({"Host": "[::1]:8090"}, 200),
        ({"X-Forwarded-For": "203.0.113.9"}, 403),
        ({"Forwarded": "for=203.0.113.9"}, 403),
        ({"Host": "rebound.example:8090"}, 403),
        ({"Origin": "http://evil.example"}, 403),
    ],
)
async def test_without_tokens_only_this_machine_reads_and_no_page_or_proxy_in_its_name(
    headers: dict[str, str], status: int
) -> None:
    async with served(OPEN) as http:
        answer = await http.get("/read", headers=headers)
        assert answer.status == status
        if status == 403:
            assert "server.api_token" in await answer.text()


async def test_with_any_token_this_machine_needs_one_too() -> None:
    tree = config.Settings(tokens={"wall": Token(WALL)})
    async with served(tree) as http:
        assert (await http.get("/read")).status == 401


# -- configuration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ('[tokens.wall]\nrole = "viewer"', "tokens.wall.token: is required, at least 16"),
        ('[tokens.wall]\ntoken = "short"', "CALLKPI_TOKENS__WALL__TOKEN_FILE"),
        (f'[tokens.wall]\ntoken = "{WALL}"\nrole = "boss"', "tokens.wall.role: 'boss' is none of viewer"),
        (f'[tokens.wall]\ntoken = "{WALL}"\ntenants = ["nord"]', "no tenant 'nord' (did you mean 'north'?)"),
        (f'[tokens.local]\ntoken = "{WALL}"', "tokens.local: a token's name"),
        (f'[tokens.a]\ntoken = "{WALL}"\n[tokens.b]\ntoken = "{WALL}"', "tokens.b.token: is that of tokens.a"),
        (
            f'[tokens.a]\ntoken = "{WALL}"\n[server]\napi_token = "{WALL}"',
            "tokens.a.token: is that of server.api_token",
        ),
    ],
)
def test_a_token_that_can_not_be_used_is_refused_at_the_start(tmp_path, tokens: str, words: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "callkpi.toml"
    path.write_text("[tenants.north]\n" + tokens)
    with pytest.raises(ConfigError) as caught:
        config.load(path, {})
    assert words in "\n".join(caught.value.problems)
    assert WALL not in str(caught.value)


def test_a_token_is_a_secret_and_may_come_from_a_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path, secret = tmp_path / "callkpi.toml", tmp_path / "wall"
    path.write_text('[tokens.wall]\nrole = "supervisor"\n')
    secret.write_text(WALL + "\n")
    tree = config.load(path, {"CALLKPI_TOKENS__WALL__TOKEN_FILE": str(secret)})
    assert (tree.tokens["wall"].token, tree.tokens["wall"].role) == (WALL, Role.SUPERVISOR)
    assert WALL in config.secrets_of(tree)


# -- tries of tokens ----------------------------------------------------------------------------------------


def wrong(number: int) -> dict[str, str]:
    return bearer(f"guess-{number}")


async def test_wrong_tokens_are_counted_at_every_way_in_and_then_nobody_looks_at_them() -> None:
    async with served(settings()) as http:
        ways = [
            lambda n: http.get("/read", headers=wrong(n)),
            lambda n: http.get(f"/read?token=guess-{n}"),
            lambda n: http.get(f"/read?token=guess-{n}", headers=PAGE),
            lambda n: http.get(f"/nothing?token=guess-{n}", headers=PAGE),
            lambda n: http.post("/signin", data={"token": f"guess-{n}"}),
        ]
        tried = [(await ways[number % len(ways)](number)).status for number in range(TRIES + 3)]
        assert set(tried[:TRIES]) <= {401, 404} and tried[TRIES:] == [429] * 3
        answer = await http.get("/read", headers=bearer(WALL))
        assert answer.status == 429 and answer.headers["Retry-After"] == "1"


async def test_who_has_shown_the_right_token_before_is_not_locked_out_with_his_neighbours() -> None:
    async with served(settings()) as http:
        assert (await http.get("/read", headers=bearer(WALL))).status == 200
        for number in range(TRIES + 1):
            await http.get("/read", headers=wrong(number))
        assert (await http.get("/read", headers=bearer(WALL))).status == 200
        assert (await http.get("/read", headers=bearer(BOSS))).status == 429


@pytest.mark.parametrize(
    ("trusted", "name", "chain", "address"),
    [
        (("127.0.0.1",), "X-Forwarded-For", "203.0.113.9", "203.0.113.9"),
        (("127.0.0.1",), "X-Forwarded-For", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        (("127.0.0.1", "10.0.0.0/8"), "X-Forwarded-For", "203.0.113.9, 10.1.2.3", "203.0.113.9"),
        (("127.0.0.1",), "X-Forwarded-For", "203.0.113.9:4711", "203.0.113.9"),
        (("127.0.0.1",), "X-Forwarded-For", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        (("127.0.0.1",), "X-Forwarded-For", "nobody", "127.0.0.1"),
        (("127.0.0.1",), "Forwarded", 'for="[2001:db8:1:2:3::4]:80";proto=http', "2001:db8:1:2::/64"),
        (("127.0.0.1",), "X-Real-IP", "203.0.113.9", "203.0.113.9"),
        ((), "X-Forwarded-For", "203.0.113.9", "127.0.0.1"),
    ],
)
async def test_a_stranger_is_known_by_what_trusted_proxies_say(
    trusted: tuple[str, ...], name: str, chain: str, address: str
) -> None:
    tries = Tries(config.Server(trusted_proxies=trusted))
    app = web.Application()

    async def told(request: web.Request) -> web.Response:
        return web.Response(text=tries.address_of(request))

    app.router.add_get("/", told)
    async with TestServer(app) as server, aiohttp.ClientSession(server.make_url("/")) as http:
        assert await (await http.get("/", headers={name: chain})).text() == address


async def test_one_stranger_behind_a_proxy_does_not_use_up_the_tries_of_the_others() -> None:
    async with served(settings()) as http:
        for number in range(TRIES + 1):
            answer = await http.get("/read", headers={**wrong(number), "X-Forwarded-For": "203.0.113.9"})
        assert answer.status == 429
        assert (await http.get("/read", headers={**bearer(WALL), "X-Forwarded-For": "198.51.100.7"})).status == 200


def test_a_trusted_proxy_that_is_no_address_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "callkpi.toml"
    path.write_text('[server]\ntrusted_proxies = ["proxy.example"]\n')
    with pytest.raises(ConfigError) as caught:
        config.load(path, {})
    assert "server.trusted_proxies: 'proxy.example' must be an address or a network" in str(caught.value)


async def test_a_sign_in_that_comes_slowly_or_is_no_form_is_cut() -> None:
    tree = settings()
    tree = replace(tree, server=replace(tree.server, request_timeout_seconds=0.2))
    async with served(tree) as http:
        assert http._base_url is not None
        reader, writer = await asyncio.open_connection(http._base_url.host, http._base_url.port)
        writer.write(b"POST /signin HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\ntoken=")
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 20)
        writer.close()
        assert (await http.post("/signin", data={"token": "x" * 20_000})).status == 413
        assert (await http.post("/signin", data=b"token=%ff")).status == 400
        moved = await http.post("/signin?next=%2Fread%00%0d%0aX", data={"token": WALL}, allow_redirects=False)
        assert (moved.status, moved.headers["Location"]) == (303, "/readX")


# -- headers of every answer --------------------------------------------------------------------------------


async def test_every_answer_is_what_its_type_says_and_may_load_nothing() -> None:
    async with served(settings()) as http:
        asked = [
            await http.get("/nothing"), await http.put("/read"), await http.get("/read"), await http.get("/signin.css"),
            await http.get("/read", headers=bearer(WALL)), await http.post("/signin", data={"token": "no"}),
        ]  # fmt: skip
    for answer in asked:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
