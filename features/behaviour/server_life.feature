Feature: Life of the server

  A server that is held computes nothing until the scenario lets it go, so that nothing here depends on
  how fast a machine is.

  @server_life.ready_after_the_self_check
  Scenario: A model that computes what is known is served
    Given a server that knows what the equations compute for 5 ids, and is held at its self-check
    When it is asked how it is, let go, and asked again
    Then it was "livez 200, readyz 503, health 503 starting, work 503" at first, and then ready

  @server_life.wrong_weights_are_not_served
  Scenario: A model whose ln_f.weight and ln_f.bias are half of what they should be
    When a server starts that knows the logits of 5 ids, and computes 0.5 times those
    Then it has ended by SelfCheckError, and was never ready

  @server_life.digest_of_the_weights
  Scenario: The digest can be computed by anybody
    Given a server
    When /health is asked for
    Then it tells the SHA-256 of the weight files

  @server_life.running_work_finishes
  Scenario: A stream that runs when the server is told to stop
    Given a server of a model that writes 4 ids again and again
    When it is told to stop while a stream of 4 tokens is held at its second
    Then the stream has 4 tokens and ends well
    And the server has ended with 0

  @server_life.no_new_work_while_draining
  Scenario: A request that comes after that
    Given a server of a model that writes 4 ids again and again
    When it is told to stop while a stream of 4 tokens is held at its second
    Then meanwhile it was "work 503"

  @server_life.draining_is_told
  Scenario: How a server is that drains
    Given a server of a model that writes 4 ids again and again
    When it is told to stop while a stream of 4 tokens is held at its second
    Then meanwhile it was "livez 200, readyz 503, health 503 draining"

  @server_life.drain_has_a_limit @server_life.cut_work_ends_with_an_error
  Scenario: A stream is cut off at the limit
    Given a server of a model that writes 4 ids again and again, with a limit of 0 seconds
    When it is told to stop while a stream of 40 tokens is held at its second
    Then the stream has 2 tokens or fewer, and ends with one error, SHUTTING_DOWN

  @server_life.exit_code_tells_a_cut
  Scenario: The exit code after a stream was cut off
    Given a server of a model that writes 4 ids again and again, with a limit of 0 seconds
    When it is told to stop while a stream of 40 tokens is held at its second
    Then the server has ended with 1

  @server_life.callback_tried_again @server_life.callback_when_ready
  Scenario: A callback that is refused once
    Given a callback that is answered with 500, and then with 200
    When a server is started that has to call it
    Then the server calls 2 times, and was ready each time
