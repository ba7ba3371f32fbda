Feature: Laws that need no reference

  @gpt2.past_is_not_changed_by_the_future
  Scenario: Another token changes no bit of the rows before it
    Given a sequence of 7 tokens
    When each token in turn is exchanged for another
    Then no earlier row of any checkpoint changes a bit

  @gpt2.chunks_change_nothing
  Scenario: A prompt at once, in chunks, and token by token
    Given a sequence of 12 tokens
    When it is read at once, in chunks, and token by token
    Then every row of logits is the same to rounding

  @gpt2.chunks_change_nothing
  Scenario: Of two tokens in a chunk the first does not see the second
    Given a sequence of 6 tokens
    When it is read at once, in chunks, and token by token
    Then every row of logits is the same to rounding

  @gpt2.batch_changes_nothing
  Scenario: Prompts of unequal length in one batch
    When prompts of 5, 3, 9 and 1 tokens are read as one batch
    Then each prompt gets the logits that it gets alone, to rounding

  @gpt2.same_run_same_bits
  Scenario: The same sequence twice
    Given a sequence of 9 tokens
    When it is read twice
    Then every bit of every checkpoint is the same

  @gpt2.recording_changes_nothing
  Scenario: A sequence with and without an observer
    Given a sequence of 10 tokens
    When it is read with and without an observer
    Then every bit of the logits of each call is the same
