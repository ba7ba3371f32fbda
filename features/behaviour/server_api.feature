Feature: Requests and answers of the server

  @server_api.every_violation_is_told
  Scenario: A request with four faults is told all of them
    Given a server
    When 3 ids are sent with faults in
      | field       | value |
      | max_tokens  | -1    |
      | n           | 0     |
      | temperature | 9     |
      | top_p       | 7     |
    Then the answer is 400 and names every fault

  @server_api.unknown_fields_are_refused
  Scenario: A field that no request has is named
    Given a server
    When 3 ids are sent with the unknown field num_beams
    Then the answer is 400 and names every fault

  @server_api.prompts_are_not_echoed
  Scenario: A refusal says nothing of the prompt
    Given a server
    When the text "my password is swordfish" is sent with faults in
      | field       | value |
      | max_tokens  | -1    |
      | stop        | 5     |
      | temperature | "hot" |
    Then the answer is 400, without the prompt

  @server_api.chats_are_refused
  Scenario: A chat is not made into a text
    Given a server
    When a chat of 1 message is sent
    Then the answer is 400 and names every fault

  @server_api.the_prompt_is_continued
  Scenario: A prompt gets over HTTP what it gets from the engine
    Given a server
    When 5 ids are continued by 6 tokens with seed 3, 1 times
    Then it adds the ids that the engine adds alone

  @server_api.each_continuation_has_its_seed
  Scenario: Three continuations have three seeds
    Given a server
    When 4 ids are continued by 6 tokens with seed 3, 3 times
    Then it adds the ids that the engine adds alone

  @server_api.probabilities_are_of_the_model
  Scenario: Probabilities are those of the equations
    Given a server
    When 5 ids are continued by 6 tokens with seed 3, 1 times
    Then each token has the probability that the equations give it

  @server_api.usage_is_counted
  Scenario: Two continuations of one prompt are counted with it
    Given a server
    When 5 ids are continued by 6 tokens with seed 3, 2 times
    Then its usage is what was read, what was added, and both

  @server_api.echo_begins_with_the_prompt
  Scenario: Echo puts the prompt first
    Given a server
    When 4 ids are continued by 3 tokens with echo
    Then the answer begins with the text of the prompt

  @server_api.the_end_has_its_reason
  Scenario: A text that max_tokens cuts says so
    Given a server whose model writes "abc"
    When 3 ids are continued by 5 tokens
    Then its text ended by length
