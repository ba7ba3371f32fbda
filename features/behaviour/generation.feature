Feature: Continuing a prompt

  Prompts are ids, so that every model can be asked. What is said of text holds for any tokens: those that
  a scenario lists are shown one after the other, and the last piece is what is shown when no token follows.

  @generation.own_choice_read_back
  Scenario Outline: A greedy continuation is the one that the logits give, token by token, at a penalty of <penalty>
    Given a prompt of <count> ids
    When it is continued greedily by 8 tokens, with a repetition penalty of <penalty>
    Then every token has the largest of the logits that follow prompt and earlier choices

    Examples:
      | count | penalty |
      | 4     | 1       |
      | 4     | 100     |
      | 8     | 100     |
      | 8     | 0.01    |

  @generation.batch_as_alone
  Scenario: Three prompts of unequal length in one batch, with one seed
    Given prompts of 4, 2 and 3 ids
    When they are continued by 6 tokens with seed 5, in a batch and alone
    Then each gets the ids in the batch that it gets alone

  @generation.batch_as_alone
  Scenario: One of three prompts joins where another has ended
    Given prompts of 4, 2 and 3 ids
    When they are continued by 6, 3 and 5 tokens with seed 5, two at a time and alone
    Then each gets the ids in the batch that it gets alone

  @generation.speculation_changes_nothing
  Scenario Outline: Of every 3 ids that are drafted the first <count> are right
    Given a prompt of 4 ids
    When it is continued greedily by 8 tokens, with drafts of 3 ids of which the first <count> are right
    Then its ids are those that are added without drafts

    Examples:
      | count |
      | 1     |
      | 2     |

  @generation.as_many_as_asked
  Scenario Outline: A prompt is continued by <count> tokens
    Given a prompt of 4 ids
    When it is continued by <count> tokens, whatever they are
    Then <count> ids are added

    Examples:
      | count |
      | 1     |
      | 8     |

  @generation.max_tokens_in_range
  Scenario Outline: A continuation by <count> tokens is none
    Given a prompt of 4 ids
    When it is continued by <count> tokens, or refused
    Then the caller gets a refusal

    Examples:
      | count |
      | 0     |
      | -1    |

  @generation.seed_told
  Scenario: The seed that comes with a text makes it again
    Given a prompt of 4 ids
    When it is continued by 8 tokens without a seed, and again with the seed that came with the text
    Then it gets the same ids again

  @generation.end_of_text_ends
  Scenario: The result ends before end-of-text
    Given a prompt of 4 ids
    When it is continued, and the third id that it got is end-of-text
    Then the first 2 ids are added

  @generation.finish_reason_true
  Scenario: A text that ended by itself
    Given a prompt of 4 ids
    When it is continued, and the third id that it got is end-of-text
    Then the finish reason is "stop"

  @generation.finish_reason_true
  Scenario: A text that was cut
    Given a prompt of 4 ids
    When it is continued by 8 tokens, whatever they are
    Then the finish reason is "length"

  @generation.stop_string_ends
  Scenario Outline: A text ends before its first stop string
    When the tokens <tokens> are shown, with the stop string " end"
    Then they show the text <text>

    Examples:
      | tokens                          | text      |
      | ["One", " end", " two"]         | "One"     |
      | ["One", " en", "d of", " two"]  | "One"     |
      | ["One", " en", "try", " e"]     | "One entry e" |

  @generation.stop_string_ends
  Scenario: A part of the model's own text as stop string
    Given a prompt of 4 ids
    When it is continued by 12 tokens, up to the fourth and fifth character of the text
    Then its text ends before the first place where they are

  @generation.stop_string_never_half_shown
  Scenario: The beginning of a stop string waits for the next token
    When the tokens ["One", " en", "d of"] are shown, with the stop string " end"
    Then the pieces are ["One", "", "", ""]

  @generation.stop_string_never_half_shown
  Scenario: What began like a stop string is shown when it is none
    When the tokens ["One", " en", "try"] are shown, with the stop string " end"
    Then the pieces are ["One", "", " entry", ""]

  @generation.characters_complete
  Scenario: A character of two tokens is shown with the second
    0x63 is c, 0xC3 and 0xA9 are é, 0x21 is an exclamation mark.

    When tokens of the bytes ["63 C3", "A9", "21"] are shown
    Then the pieces are ["c", "\u00e9", "!", ""]

  @generation.characters_complete
  Scenario: A character that is not completed is U+FFFD at the end
    When tokens of the bytes ["63", "F0 9F", "98"] are shown
    Then the pieces are ["c", "", "", "\ufffd"]

  @generation.pieces_make_the_whole
  Scenario: What was held back is shown at the end
    When the tokens ["One", " en"] are shown, with the stop string " end"
    Then the pieces are ["One", "", " en"]

  @generation.pieces_make_the_whole
  Scenario: The bytes of one emoji in four tokens
    When tokens of the bytes ["F0", "9F", "98", "80"] are shown
    Then they show the text "\ud83d\ude00"

  @generation.pieces_make_the_whole
  Scenario: A stream of the model shows what its ids decode to
    Given a prompt of 4 ids
    When it is streamed by 12 tokens
    Then the pieces joined are the text of the ids

  @generation.context_not_exceeded
  Scenario Outline: A prompt that leaves too little room
    Given a prompt of <room> positions less than the model has
    When it is continued by <count> tokens, or refused
    Then the caller gets a refusal

    Examples:
      | room | count |
      | 1    | 3     |
      | 0    | 2     |
      | -1   | 1     |

  @generation.unknown_ids_refused
  Scenario Outline: The id <id> is none
    Given a prompt of 4 ids, the second of them <id>
    When it is continued by 2 tokens, or refused
    Then the caller gets a refusal

    Examples:
      | id      |
      | -1      |
      | n_vocab |

  @generation.empty_prompt_refused
  Scenario: A prompt without a token
    Given a prompt of 0 ids
    When it is continued by 2 tokens, or refused
    Then the caller gets a refusal

  @generation.refused_before_any_work
  Scenario: A stream is refused at the call
    Given a prompt of 4 ids, the second of them n_vocab
    When a stream of 2 tokens is asked for, and no piece of it
    Then the caller gets a refusal

  @generation.refused_before_any_work
  Scenario: A stream of no tokens is refused at the call
    Given a prompt of 4 ids
    When a stream of 0 tokens is asked for, and no piece of it
    Then the caller gets a refusal
