Feature: Audit log of the server

  Events are requests that are accepted and finished by turns. A hash is the SHA-256 of five fields, each behind
  its length in 8 bytes. What is changed is a copy of the folder, as a process that is killed leaves it.

  @server_audit.hash_over_every_field
  Scenario: The hash of a record is that of its five fields, each behind its length
    When 6 events are recorded
    Then each hash is the SHA-256 of id, time, service, event and link, each behind its length

  @server_audit.whole_digests
  Scenario: A change of the last digit of the last hash is found
    When 6 events are recorded, and the last digit of the hash of line 6 is another
    Then the verifier names hash, in line 6

  @server_audit.whole_digests
  Scenario: A change of any byte of a record is found
    When 6 events are recorded, and each byte of line 6 is changed in its turn
    Then the verifier finds every change

  @server_audit.one_form
  Scenario Outline: Another spelling of a record is found
    When 6 events are recorded, and in line 3 <change>
    Then the verifier names non-canonical, in line 3

    Examples:
      | change                        |
      | there is a space more         |
      | a letter is written as \u006c |
      | two fields change places      |

  @server_audit.chain_from_the_first_record
  Scenario Outline: A record that stands behind another one is found
    When 6 events are recorded, and the link of line <line> is another, with a hash that fits
    Then the verifier names link, in line <line>

    Examples:
      | line |
      | 1    |
      | 4    |

  @server_audit.chain_across_files
  Scenario: Each record stands behind the one before it, in whatever file that is
    When 9 events are recorded, in files of 1000 bytes
    Then each link is the hash before, and the first is 64 zeros
    And the verifier finds nothing

  @server_audit.ids_and_time_in_order
  Scenario Outline: An id or a time out of order is found
    When 6 events are recorded, and with a hash that fits, in line 3 <change>
    Then the verifier names order, in line 3

    Examples:
      | change                      |
      | the id is that of line 4    |
      | the time is a second before |

  @server_audit.time_never_goes_back
  Scenario: The clock is set back
    When 2 events are recorded, the clock is set back by 3600 seconds, and 2 more are recorded
    Then the times of all 4 are 2026-01-02T03:04:05.000006Z
    And the verifier finds nothing

  @server_audit.tail_is_anchored
  Scenario Outline: A tail that was cut is found while the server runs
    When 6 events are recorded, and the last <count> are cut
    Then the verifier names cut tail, in line 0

    Examples:
      | count |
      | 1     |
      | 4     |

  @server_audit.cut_log_is_refused
  Scenario: No start writes on behind a tail that was cut
    When 6 events are recorded, the last 2 are cut, and the server starts again
    Then the caller gets a refusal

  @server_audit.torn_line_moved_aside
  Scenario: The server is killed in the middle of a line
    When the server is killed behind 4 events and 30 bytes of a line, and starts again
    Then the log goes on with what it mended: 0 records adopted, 30 bytes torn
    And the torn bytes are in a file of their own
    And the verifier finds nothing

  @server_audit.whole_record_adopted
  Scenario: The server is killed between a record and its anchor
    When the server is killed behind 4 events and one that is not anchored, and starts again
    Then the log goes on with what it mended: 1 records adopted, 0 bytes torn
    And the verifier finds nothing

  @server_audit.files_as_the_manifest_says
  Scenario Outline: A file is missing, does not belong, or is another
    When 9 events are recorded, in files of 1000 bytes, and <change>
    Then the verifier names <kind>, in line 0

    Examples:
      | change                                        | kind         |
      | the first file is taken away                  | missing file |
      | a file is put beside them                     | unknown file |
      | the manifest has another digest for the first | file digest  |

  @server_audit.new_file_each_day
  Scenario: Days are those of UTC
    When events are recorded 5 hours ahead of UTC at these times of UTC
      | time                |
      | 2026-01-02 18:30:00 |
      | 2026-01-02 19:30:00 |
      | 2026-01-02 23:30:00 |
      | 2026-01-03 00:30:00 |
    Then the files are
      | file             | records |
      | 2026-01-02.audit | 3       |
      | 2026-01-03.audit | 2       |

  @server_audit.no_prompt
  Scenario: A prompt is refused
    When 3 events are recorded, and one with the prompt "To be, or not to be"
    Then the caller gets a refusal
    And no file of the log has "To be, or not to be"

  @server_audit.digest_of_the_whole_prompt
  Scenario: Of a prompt its digest and its length are kept
    When the log is asked what it keeps of two prompts that differ behind 80 characters
    Then it keeps the SHA-256 and the length of each

  @server_audit.only_what_shows
  Scenario Outline: A character that does not show is refused
    When a reason with U+<code> in it is recorded
    Then the caller gets a refusal
    And no file of the log has it

    Examples:
      | code | what it is                   |
      | 0000 | NUL                          |
      | 000A | a line feed                  |
      | 001B | the begin of an escape       |
      | 009B | the same, in one character   |
      | 2028 | a line separator             |
      | 200B | a space without a width      |
      | 202E | what follows, right to left  |
      | 2066 | a part of its own, likewise  |
      | FEFF | a mark that no screen shows  |

  @server_audit.nothing_half_written
  Scenario: On a full disk a record is refused, and nothing of it stays
    When the disk has room for 4 events and 60 bytes, 2 more are recorded with on_full=refuse, and 1 with room again
    Then the calls end with: full, full, a-000000000005
    And on the full disk the file was as before
    And the verifier finds nothing

  @server_audit.loss_is_told
  Scenario: On a full disk the server goes on, and tells what is lost
    When the disk has room for 4 events and 60 bytes, 2 more are recorded with on_full=continue, and 1 with room again
    Then the calls end with: lost, lost, a-000000000006
    And record 5 tells that 2 are lost
    And the verifier finds nothing

  @server_audit.one_writer
  Scenario: A second server is refused
    When a second server opens the log of one that writes
    Then the caller gets a refusal
