from bench.haproxy import configuration


def test_haproxy_listens_on_what_it_inherits_and_holds_no_chunk_back() -> None:
    lines = [line.strip() for line in configuration(descriptor=7, host="127.0.0.1", port=9000).splitlines()]
    assert "bind fd@7" in lines
    assert "option http-no-delay" in lines
    assert "nbthread 1" in lines
    assert any(line.startswith("server upstream 127.0.0.1:9000") for line in lines)
