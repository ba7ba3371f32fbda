Feature: Streams of the server

  Where a scenario says what the model writes, each byte of that is a token.

  @server_stream.sent_when_made
  Scenario: A job can be cancelled at its first token
    Given a server
    When a job of 200 tokens is cancelled at its first token
    Then its stream ends with the error CANCELLED

  @server_stream.a_job_ends_once
  Scenario: A job has one end
    Given a server whose model writes "abc"
    When a job of 5 tokens runs to its end
    Then its events are started, 5 tokens and one end

  @server_stream.a_completion_is_done_once
  Scenario: A completion is done once
    Given a server whose model writes "abc"
    When a completion of 5 tokens is streamed to its end
    Then its last data, and no other, are [DONE]

  @server_stream.whole_characters
  Scenario: A letter of two tokens comes with the second
    Given a server whose model writes "né€"
    When a job of 6 tokens runs to its end
    Then its pieces are ["n", "", "é", "", "", "€"]

  @server_stream.no_letter_of_a_stop_string
  Scenario: What only begins like a stop string is sent, and the stop string is not
    Given a server whose model writes "aSTaSTOPb"
    When a job of 9 tokens runs to its end, which "STOP" would stop
    Then its pieces are ["a", "", "", "STa", "", "", "", ""]

  @server_stream.pieces_are_the_whole
  Scenario: Text that waited for a stop string is sent at the end
    Given a server whose model writes "abST"
    When a job of 4 tokens runs to its end, which "STOP" would stop
    Then together its pieces are "abST"

  @server_stream.stops_when_nobody_listens
  Scenario: A client goes away
    Given a server
    When the client of a job of 200 tokens goes away at its first token
    Then the audit log has the job as cancelled

  @server_stream.cancelled_before_the_end
  Scenario: A job that is cancelled ends with an error
    Given a server
    When a job of 200 tokens is cancelled at its first token
    Then its stream ends with the error CANCELLED

  @server_stream.cancel_may_be_repeated
  Scenario: A cancel that comes late, and again
    Given a server
    When a job that is over is cancelled 2 times
    Then each cancel is answered with 202
