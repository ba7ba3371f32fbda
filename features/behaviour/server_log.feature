Feature: Logs and metrics of the server

  Texts are written as in JSON: "\u200b" is a space without width.

  @server_log.correlation_followed
  Scenario Outline: The id in <header> is taken over
    Given a server
    When 3 ids are sent under <header> "<id>"
    Then its answer and every line of it have that id

    Examples:
      | header           | id                                               |
      | X-Correlation-Id | a.B-3_x                                          |
      | X-Request-Id     | 0f8fad5b-d9cb-469f-a165-70867728950e-and-further |

  @server_log.correlation_checked
  Scenario Outline: An id of <what> is replaced
    Given a server
    When 3 ids are sent under X-Correlation-Id "<id>"
    Then its answer and every line of it have another id, of letters, digits and . _ -

    Examples:
      | what           | id                |
      | two words      | two words         |
      | a log line     | {\"event\":\"x\"} |
      | many letters   | 129 letters       |

  @server_log.no_secret
  Scenario: A secret in an address
    Given a server
    When the address "/v1/sk-planted66666666666" is asked for
    Then "planted" is nowhere in the log

  @server_log.no_secret
  Scenario Outline: A secret in an error: <error>
    Given a server whose model fails with "<error>"
    When the model fails 2 times
    Then "planted" is nowhere in the log

    Examples:
      | error                                  |
      | postgres://me:planted8@host            |
      | Authorization: Bearer planted-secret-2 |

  @server_log.no_secret_in_disguise
  Scenario: A secret with a space without width in it
    Given a server whose model fails with "Bea\u200brer planted-secret-1"
    When the model fails 2 times
    Then "planted" is nowhere in the log

  @server_log.no_prompt
  Scenario: Ids that are continued
    Given a server
    When 9 ids are sent under X-Request-Id "mine"
    Then nothing of the prompt is in the log

  @server_log.no_prompt
  Scenario: A text that is refused
    Given a server
    When the text "Who is there, nay answer me" is sent for -1 tokens
    Then nothing of the prompt is in the log

  @server_log.a_line_is_an_object
  Scenario: Each error of the server is one line
    Given a server whose model fails with "one\ntwo"
    When the server itself fails 2 times
    Then the log has 2 errors, and each line is an object with timestamp, level, event and correlation_id

  @server_log.requests_and_tokens_counted
  Scenario: Two requests that are served and three that are refused
    Given a server of a model that writes 4 ids again and again
    When 2 prompts of 5 ids are continued by 4 tokens, and 3 requests are refused
    Then the metrics are
      | metric                                    | value |
      | llorch_requests_accepted_total            | 2     |
      | llorch_requests_total{outcome="length"}   | 2     |
      | llorch_requests_total{outcome="invalid"}  | 3     |
      | llorch_prompt_tokens_total                | 10    |
      | llorch_generated_tokens_total             | 8     |

  @server_log.gauges_fall
  Scenario: One request runs, and then none
    Given a server of a model that writes 4 ids again and again
    When the metrics are asked for while a stream is held at its second token, and after its end
    Then 1 request runs before the end, and 0 after it

  @server_log.labels_are_bounded
  Scenario: Addresses that are not there
    Given a server
    When 5 addresses are asked for that are not there
    Then the metrics have the series that they had before

  @server_log.scrape_waits_for_nothing
  Scenario: A scrape while the engine computes
    Given a server of a model that writes 4 ids again and again
    When the metrics are asked for while a stream is held at its second token, and after its end
    Then the first answer came before the second token
