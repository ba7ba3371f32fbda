Feature: Deadlines of the server

  What time a request had left when it was accepted is in the audit log. That is compared with what it asked
  for less the time that it was on its way, as its client measured that.

  @server_deadline.an_instant_with_its_offset
  Scenario Outline: X-Deadline is an instant at <offset>
    Given a server that is quick
    When an instant 60.9 s after a full second is sent, as a clock at <offset> shows it
    Then the request had that time left

    Examples:
      | offset |
      | +02:00 |
      | -05:30 |

  @server_deadline.instants_only
  Scenario Outline: X-Deadline is <text>
    Given a server that is quick
    When X-Deadline is no instant but "<text>"
    Then it gets 400, for X-Deadline

    Examples:
      | text                |
      | 4102444800          |
      | 4102444800000       |
      | 2099-12-31T23:59:59 |
      | tomorrow            |

  @server_deadline.past_before_any_work
  Scenario Outline: X-Deadline is <text>
    Given a server that is quick
    When X-Deadline is long past, "<text>"
    Then it gets 504, and no request was accepted

    Examples:
      | text                      |
      | 2020-01-01T00:00:00Z      |
      | 0001-01-01t00:00:00z      |
      | 1990-12-31T15:59:60-08:00 |

  @server_deadline.milliseconds
  Scenario Outline: deadline_ms stands in the <place>
    Given a server that is quick
    When 60000 ms are asked for in the <place>
    Then the request had that time left

    Examples:
      | place |
      | body  |
      | query |

  @server_deadline.counted_from_the_arrival
  Scenario: The last byte of a request comes late
    Given a server that is quick
    When 200 ms are asked for, and the last byte of the request comes after 300 ms
    Then it gets 504, and no request was accepted

  @server_deadline.counted_from_the_arrival
  Scenario: A request waits for a place
    Given a server that has one place, and takes 10 ms for a token
    When there is a stream of 200 tokens, and 1 token is asked for with 300 ms
    Then the second request has no token, and failed with TIMEOUT

  @server_deadline.earliest_counts
  Scenario Outline: <header> s in the header, <body> s in the body, and <query> s in the query
    Given a server that is quick
    When <header> s are asked for in the header, <body> s in the body, and <query> s in the query
    Then the request had 100 s left

    Examples:
      | header | body | query |
      | 100    | 200  | 300   |
      | 300    | 100  | 200   |
      | 200    | 300  | 100   |

  @server_deadline.clock_that_nobody_sets
  Scenario: The clock is set forward while a request runs
    Given a server that takes 5 ms for a token
    When a stream of 40 tokens has 60 s, and behind its first token the clock is set forward by 3600 s
    Then its stream comes to its own end

  @server_deadline.default_where_none_is_given
  Scenario: A request names no deadline
    Given a server that has a default of 50000 ms and a maximum of 90000 ms
    When no deadline is asked for
    Then the request had 50 s left

  @server_deadline.never_past_the_maximum
  Scenario Outline: A request asks for 95 s in the <place>
    Given a server that has a default of 50000 ms and a maximum of 90000 ms
    When 95000 ms are asked for in the <place>
    Then the request had 90 s left

    Examples:
      | place |
      | body  |
      | query |

  @server_deadline.no_prompt_that_cannot_be_read
  Scenario: A prompt takes longer than there is time
    Given a server that takes 5 ms for a token
    When 64 ids have been read, and 200 are sent with 400 ms
    Then it gets 504, and one request was accepted

  @server_deadline.stops_in_the_middle
  Scenario: The deadline passes while tokens are made
    Given a server that takes 10 ms for a token
    When a stream of 90 tokens has 400 ms
    Then the server did no more than there was time for

  @server_deadline.a_stream_ends_with_an_error
  Scenario: What a stream says when its time is over
    Given a server that takes 10 ms for a token
    When a stream of 90 tokens has 400 ms
    Then the stream ends with the error TIMEOUT
