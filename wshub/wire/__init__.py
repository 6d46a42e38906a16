r"""The wire protocol between the hub and a service process: what it is, its vocabulary, its limits.

Its codec is in two modules: :mod:`wshub.wire.batches` and :mod:`wshub.wire.payloads`.

A service process has two pipes of its own: it reads from descriptor `FROM_HUB` (3) and writes to `TO_HUB` (4). Each
carries a stream of *batches*, each batch one or more *transactions*: a kind, a socket id, a payload. All integers are
little-endian, but for the code of a CLOSE, which is as it is in a frame.

::

    stream      batch | batch | reference | batch ...      until end of file, which means: finish and exit
    batch       +-----------+----------------- - - -+
                | size: u32 | body: size bytes      |      1 <= size <= MAX_BATCH
                +-----------+----------------- - - -+
    reference   +------------------+---------------+-----------+
                | 0xFFFF0000: u32  | position: u64 | size: u32 |      to whole batches in shared memory instead
                +------------------+---------------+-----------+
    body        +------------+------------------------------------------+--------------------- - -
                | count: u32 | pickle of (kinds, socket_ids, sizes)      | payloads, end to end
                +------------+------------------------------------------+--------------------- - -

The pickle (protocol 3) holds three `bytes`: kinds as u8, socket ids as u64, sizes of the payloads as u32, `count` of
each (1 <= count <= MAX_COUNT). Nothing but the columns varies in it, so its frame is known from `count` alone: who
reads it compares the four constant pieces and takes the columns from where they must be. No unpickler ever sees what
the other end wrote: even with every global refused, nine bytes can make one take gigabytes.

A reference stands for a stretch of the stream that is large, and lies in memory that both ends share: see
:mod:`wshub.arena`. The hub says with the argument ``arena=yes`` that there is such memory, on descriptor 5, which the
service maps and closes before anything else.

================  ====  ======  ===============================================================================
NEWSOCKET         0     service lines: host, port, path, query, subprotocol or nothing, then headers ``name: value``
DATA              1     both    a text message as UTF-8
CLOSE             2     both    code: u16 big-endian, reason: UTF-8, at most 123 bytes; the body of RFC 6455,
                                section 5.5.1. To a service: one for each NEWSOCKET and RESUMED, nothing after it;
                                or for a REQUEST, see below
BINARY            3     both    a binary message
MULTICAST         4     hub     count: u32, then that many socket ids: u64, then a text message; socket id 0
MULTICAST_BINARY  5     hub     the same with a binary message
READY             6     hub     lines ``name value`` of what the class declares; once, before anything else; socket id 0
FAILED            7     hub     the traceback of why there is no service, as text; nothing follows; socket id 0
SYNC              8     both    nothing. To a service: to be answered with a SYNC once everything before it about this
                                socket has been dealt with
HEARTBEAT         10    hub     nothing; unasked, after READY, `BEATS` times in each hang_timeout of the service;
                                socket id 0
REQUEST           11    service as NEWSOCKET, with all subprotocols that the client offers, commas between them
ACCEPT            12    hub     the client may connect; what goes with the 101, see `wshub.answers`
REFUSE            13    hub     it may not; the response, see `wshub.answers`
SLOW              14    service 1 byte: 1 when messages for this client begin to wait in the hub, 0 when none wait
RESUMED           15    service as NEWSOCKET: a client that a process of the same service had before this one
================  ====  ======  ===============================================================================

A service whose READY declares ``on_request yes`` is asked about each client first: a REQUEST with a new socket id, to
be answered with one ACCEPT or REFUSE. After an ACCEPT the same id comes back in a NEWSOCKET. If the client goes first,
or the answer is late, a CLOSE comes instead, and an answer that has crossed it is passed over.

The middle column says who is told so. The hub checks whatever a service says, a service trusts the hub. A new kind gets
a number above these; an unknown one is an error, because both ends are always of one version: the hub starts the
service's interpreter with its own package.
"""

FROM_HUB = 3
TO_HUB = 4

NEWSOCKET = 0
DATA = 1
CLOSE = 2
BINARY = 3
MULTICAST = 4
MULTICAST_BINARY = 5
READY = 6
FAILED = 7
SYNC = 8
HEARTBEAT = 10
REQUEST = 11
ACCEPT = 12
REFUSE = 13
SLOW = 14
RESUMED = 15

RESTARTS = ("permanent", "transient", "temporary")
"""What a service's `restart` may be; OTP's words."""

LIFETIMES = ("lazy", "eager")
"""What a service's `lifetime` may be."""

SLOW_CLIENTS = ("close", "drop-oldest", "drop-newest", "pause")
"""What a service's `slow_clients` may be."""

BEATS = 6
"""How often a service that lives says so within the time after which its silence is its death."""

MAX_BATCH = 64 << 20
"""The largest body, in bytes: four times the largest message of the Autobahn test suite."""

MAX_COUNT = 4096
"""The most transactions in a batch: beyond a few hundred a batch costs no less for each."""

MAX_MESSAGE = MAX_BATCH // 2
"""The largest payload of a message, in bytes: what is left for the addresses of a multicast is plenty."""

MAX_ADDRESS = 1 << 20
"""The most socket ids of a multicast: more than there can be, and each takes the hub a hundred bytes for a moment."""

MAX_TRACEBACK = 32 << 10
"""The longest traceback, in bytes; the end of it is what tells."""

MAX_READY = 4 << 20
"""The largest READY, in bytes: tens of thousands of files."""

PIPE_SIZE = 1 << 20
"""What a pipe is grown to, and the most that is read from it at once, in bytes; Linux lets any user have so much."""
