Feature: Continuous batching in the server

  @server_batch.text_does_not_depend_on_company
  Scenario Outline: A prompt of <count> ids alone, among seven others, and alone again
    Given a server
    When <count> ids are continued with seed 3, alone, among 7 others, and alone again
    Then its tokens and their probabilities are the same to the bit

    Examples:
      | count |
      | 5     |
      | 70    |

  @server_batch.a_beginning_is_found_by_its_ids
  Scenario: A prompt of the same length has another beginning
    Given a server
    When two prompts of 140 ids that share the first 128 are continued, and a third of that length
    Then each gets the tokens and probabilities, to the bit, that it gets where nothing is kept

  @server_batch.a_shared_beginning_is_read_once
  Scenario: Two blocks are shared
    Given a server
    When two prompts of 140 ids that share the first 130 are continued, and a third of that length
    Then 128 positions were found again

  @server_batch.joins_between_tokens
  Scenario: The third joins when the second has ended, while the first runs
    Given a server with max_batch = 2, queue = 8
    When prompts of -16, -3, -14 ids are continued as far as there is room
    Then prompt 2 has its first token before prompt 0 has its last

  @server_batch.long_prompts_in_blocks
  Scenario: A stream goes on while a long prompt is read
    Given a server
    When prompts of 4, -3 ids are continued by 4 tokens
    Then prompt 0 has 3 tokens or more before prompt 1 has its first

  @server_batch.a_full_queue_refuses
  Scenario: One runs, one waits, and the third is refused
    Given a server with max_batch = 1, queue = 1
    When 2 jobs of 200 tokens are there, and one more is sent
    Then the answer is 429, and says when to try again
