"""What the inputs of the fuzzed targets are made of: words, and whole inputs to begin with."""

TARGETS = ["keys", "uris", "settings", "envelopes", "listings", "zip archives", "journals", "command line"]
"""The names of the targets."""

KEY_WORDS = [
    *b"a / .. . * **/ ? [a-z] [z-a] [ { } , {a,b} %2F \\ .anystore/".split(),
    *(b"\xff\x00", b"\xed\xa0\x80", b"\xc3\xbc", b"\0", b"\n", b"n" * 300, b"a/" * 400),
]
KEYS = [
    (b"a/b.txt", b"a", b"**/*.{pdf,txt}"),
    (b"a" * 250, b"", b"*a" * 10 + b"b"),
    (b"a/" * 120 + b"c", b"", b"**/a/" * 12 + b"b"),
    (b"a[b]", b"x/", b"a[[]b[]]"),
]
"""A key, a prefix and a glob each."""

_NAMES = (
    b"file memory s3 gs az abfss http https sqlite postgresql mysql mariadb mysql+pymysql redis rediss unix valkey "
    b"redis+cluster zip zip+https zip+s3 fsspec+file fsspec+s3 sftp ftp webdav smb github hf data simplecache x"
)
SCHEMES = [name + b"://" for name in _NAMES.split()]
URI_WORDS = [
    *b"host : @ / // ? # = & [::1] [ ] % %00 %zz :99999 db= table= prefix= a.zip ~ user:pw@".split(),
    *(b"\xff\x00", b'{"key":1}', b'{"table":"a b"}', b"\xc2\xb2", b"\0"),
]

SETTINGS_WORDS = [
    *b"uri serialization_mode raise_on_nonexist default_ttl readonly backend_config { } [ << true 1e999 nan".split(),
    *(b": ", b"\n", b"  ", b"- ", b"&a ", b"*a", b"<<: ", b"!!python/object:os.system ", b"2024-99-99", b"0xfffffffff"),
    *(b"\xff\x00", b"ANYSTORE_DEFAULT_TTL", b"ANYSTORE_BACKEND_CONFIG__A__B", b"ANYSTORE_URI", b'"'),
]
SETTINGS = [
    (b'{"uri": "./a", "default_ttl": 5, "backend_config": {"a": {"b": 1}}}',),
    (b"uri: ./a\nreadonly: yes\nbackend_config:\n  a: {b: 1}\n",),
    (b"{}", b"ANYSTORE_BACKEND_CONFIG__A", b"1", b"ANYSTORE_BACKEND_CONFIG__A__B", b"2"),
    (b"[" * 400,),
    (b"{a: " * 400,),
]
"""A store file, and then names and values of variables."""

NODES = (
    b"list tuple set frozenset dict OrderedDict PosixPath pyarrow.Table pandas.DataFrame pandas.Series "
    b"polars.DataFrame polars.Series as same numpy dataclass model namedtuple enum flag bytes bytearray str int float "
    b"complex Decimal UUID datetime time date timedelta range"
).split()

_HTML = b'<html><title>Index of /f/</title><h1>Index of /f/</h1><hr><pre><a href="../">../</a>\n'
PAGES = [
    (b"text/html", _HTML + b'<a href="a%20b">a b</a>  23-Nov-2026 02:07   1.2K\n</pre></html>'),
    (b"text/html", b"<title>Directory listing for /f/</title><h1>x</h1><hr><ul><li><a href='a'>a</a></ul>"),
    (
        b"text/html",
        (
            b"<title>Index of /f</title><h1>Index of /f</h1><table id=indexlist><tr><td><a href='?C=N'>N</a></td></tr>"
            b"<tr><td><a href='a/'>a/</a></td><td>2024-01-02 03:04</td><td>12M</td></tr></table>"
        ),
    ),
    (
        b"text/html",
        (
            b"<title>Index of /f/</title><div class=list><table><tr><td class=n><a href='a'>a</a></td><td class=m>"
            b"2024-Jan-02 03:04:05</td><td class=s>1.5K</td></tr></table></div>"
        ),
    ),
    (
        b"text/html",
        (
            b"<div class=listing><table><tr class=file><td><a href='./a'>a</a></td><td data-size=12>12 B</td><td>"
            b"<time datetime='2024-01-02T03:04:05Z'>x</time></td></tr></table></div>"
        ),
    ),
    (
        b"text/html",
        b"<title>host - /f/</title><h1>host - /f/</h1><hr><pre> 1/2/2024  3:04 PM  123 <a href='/f/a'>a</a></pre>",
    ),
    (b"application/json", b'[{"name":"a","type":"file","mtime":"Tue, 02 Jan 2024 03:04:05 GMT","size":12}]'),
    (
        b"application/json",
        b'[{"name":"a","url":"./a","mod_time":"2024-01-02T03:04:05Z","size":1,"is_dir":false,"is_symlink":false}]',
    ),
    (
        b"text/xml",
        (
            b'<?xml version="1.0"?>\n<list>\n<file mtime="2024-01-02T03:04:05Z" size="12">a</file>\n'
            b'<directory mtime="2024-01-02T03:04:05Z">d</directory></list>'
        ),
    ),
    (
        b"application/xml",
        (
            b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            b"<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
            b"<EncodingType>url</EncodingType>"
            b"<Contents><Key>f/a</Key><LastModified>2024-01-02T03:04:05.000Z</LastModified><Size>1</Size></Contents>"
            b"<CommonPrefixes><Prefix>f/d/</Prefix></CommonPrefixes></ListBucketResult>"
        ),
    ),
    (
        b"application/xml",
        (
            b'<?xml version="1.0" encoding="utf-8"?><D:multistatus xmlns:D="DAV:"><D:response><D:href>/f%20g/a</D:href>'
            b"<D:propstat><D:prop><D:getcontentlength>12</D:getcontentlength><D:getlastmodified>"
            b"Tue, 02 Jan 2024 03:04:05 GMT</D:getlastmodified>"
            b"<D:resourcetype><D:collection/></D:resourcetype></D:prop></D:propstat></D:response>"
            b"</D:multistatus>"
        ),
    ),
    (
        b"text/xml",
        b'<?xml version="1.0"?><urlset><url><loc>https://host:8080/f%20g/a</loc><lastmod>2024-01-02</lastmod></url></urlset>',
    ),
    (
        b"text/xml",
        b'<?xml version="1.0"?><sitemapindex><sitemap><loc>https://host/b.xml</loc></sitemap></sitemapindex>',
    ),
    (b"text/plain", b"User-agent: *\nDisallow: /a\nAllow: /a/b$\nCrawl-delay: 1.5\nSitemap: x\n"),
]
LISTING_WORDS = [
    *(
        b'<a href="',
        b'">',
        b"</a>",
        b"<pre>",
        b"<tr>",
        b"<td>",
        b"<li>",
        b"../",
        b"%2F",
        b"%FF",
        b"//[",
        b"http://[::1",
    ),
    *(b"<base href=", b"encoding=", b"utf-16", b"utf-7", b"shift_jis", b"rot13", b"idna", b"<!DOCTYPE", b"&#55296;"),
    *(
        b"&#x110000;",
        b"99999999999999999999",
        b"-1",
        b"1e999",
        b"NaN",
        b"0001-01-01T00:00:00+23:59",
        b"9999-12-31T23:59:59-23:59",
    ),
    *(
        b"text/html",
        b"application/json",
        b"text/xml",
        b"\xff\x00",
        b"\0",
        b"\xef\xbb\xbf",
        b"[",
        b"{",
        b"javascript:",
        b"?#",
    ),
    *(b"Crawl-delay: ", b"Request-rate: 1/", b"Visit-time: ", b"Disallow: /", b"*", b"$", b"%"),
]

ZIP_WORDS = [
    *(
        b"PK\1\2",
        b"PK\3\4",
        b"PK\5\6",
        b"PK\6\6",
        b"PK\6\7",
        b"PK\7\x08",
        b"\xff\xff\xff\xff",
        b"\xff\xff",
        b"\0\0\0\0",
    ),
    *(b"\x7f\xff\xff\xff", b"\x80", b"../", b"/", b"\xff\x00", b"\1\0", b"UT\5\0", b"up", b"\x63\0"),
]

_HEAD = (
    b'{"format":1,"segments":["00000001-aa"],"next":"00000002-bb","garbage":["00000000-cc"],'
    b'"unfinished":{"u":"2024-01-01T00:00:00Z"}}'
)
_LAYOUT = b'{"format":1,"name":"ab","shards":2,"depth":1,"last_run":3,"runs":{},"garbage":{}}'
_RECORD = (
    b'{"key":"a","source":"u","url":"u/a","status":"ok","listed":null,"settled":false,"size":1,"sha256":"00","etag":null,'
    b'"last_modified":null,"modified":"2024-01-01T00:00:00Z","mimetype":null,"first_seen":"2024-01-01T00:00:00Z",'
    b'"seen":"2024-01-01T00:00:00Z","fetched":null,"run":1,"added":0,"changed":0,"attempts":0,"error":null}\n'
)
_RUN = (
    b'{"type":"run","number":1,"source":"u","target":"t","started":"2024-01-01T00:00:00Z","ended":"2024-01-01T00:00:00Z",'
    b'"complete":true,"walked":true,"root":"00","counts":{"a":1},"limits":[]}\n'
)
JOURNALS = [
    (_HEAD, b"", _RECORD + _RUN, _RECORD),
    (b"", _LAYOUT, b"", b""),
    (_HEAD, b"", _RUN, b""),
]
"""A head, a layout and two segments each."""

JOURNAL_WORDS = [
    *(
        b'"segments":[',
        b'"00000001-aa"',
        b'"zz"',
        b'"\xc2\xb2"',
        b'"../x"',
        b'"next":',
        b'"garbage":[',
        b'"shards":',
        b"null",
    ),
    *(
        b"99999999999",
        b"-1",
        b'"depth":',
        b'"runs":{',
        b'"status":"gone"',
        b'{"type":"run"',
        b"\n",
        b"\xff\x00",
        b"1e400",
    ),
    *(b'"\\ud800"', b'"0001-01-01T00:00:00+23:59"', b"99999999999999999999999", b'"key":"', b'"key":""', b"}", b"]"),
]

COMMANDS = [
    "get\0a/1",
    "put\0k\0v",
    "put\0k\0-",
    "keys\0--prefix\0a\0--glob\0**/*.{pdf,txt}\0--info",
    "keys\0-0\0--exclude-prefix\0a",
    "delete\0--prefix\0x\0--yes",
    "delete\0k\0k2",
    "info\0a/1",
    "info",
    "cp\0a/1\0./file",
    "cp\0-r\0a\0./copy",
    "cp\0a/1\0-",
    "io\0-i\0./file\0-o\0./file2",
    "mirror\0./anystore-data\0./mirrored\0--delete\0--dry-run\0--workers\0" + "2",
    "mirror\0./anystore-data\0memory://x\0--compare\0checksum\0--verify\0full",
    "crawl\0./anystore-data\0./crawled\0--verify\0fast",
    "documents\0./crawled\0--status\0gone\0--json\0--since\0" + "2024-05-01",
    "settings\0--store\0memory://x",
    "--help",
    "get\0--help",
    "--version",
    "--store\0./other.zip\0put\0a\0b",
    "--store\0./other.zip\0keys",
]
COMMAND_WORDS = [word.encode() for text in COMMANDS for word in text.split("\0")]
COMMAND_WORDS += [
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"{",
    b"[z-a]",
    b"\xc2\xb2",
    b"99999999999999999999",
    b"1e999",
    b"nan",
    b"--json",
]
COMMAND_WORDS += [
    b"--limit",
    b"-1",
    b"--max-bytes",
    b"--concurrency",
    b"--since",
    b"-o",
    b".",
    b"a/",
    b".zip",
    b"\x1b[31m",
    b"\n",
]
