Feature: Who may ask the server

  The tokens of a server are "correct-horse-battery", named first, "staple-staple-staple", named second, and
  "0123456789abcdef", named third. Who asks without saying for what asks for /v1/models.

  @server_auth.whole_token
  Scenario Outline: A token that is <kind> is refused
    Given a server that has 3 tokens
    When somebody asks with "Bearer <token>"
    Then it gets 401

    Examples:
      | kind                         | token                  |
      | a right one and one more     | correct-horse-batteryx |
      | a right one but for its end  | correct-horse-batter   |
      | a right one but for its last | correct-horse-batterx  |
      | a right one in capitals      | CORRECT-HORSE-BATTERY  |
      | the half of a right one      | correct-hors           |

  @server_auth.compared_in_constant_time
  Scenario Outline: A token that is <kind> is compared like one that is right
    Given a server that has 3 tokens, whose checks are watched
    When it checks "<token>", and then the first token
    Then both checks called the same functions in the same order, and compared 3 digests

    Examples:
      | kind                         | token                 |
      | wrong in its last character  | correct-horse-batterx |
      | wrong in its first character | xorrect-horse-battery |
      | the last one                 | 0123456789abcdef      |

  @server_auth.every_token_counts
  Scenario Outline: The token named <name> is let in, and the log has its digest
    Given a server that has 3 tokens
    When somebody asks with "Bearer <token>"
    Then it gets 200, and the log has <fingerprint> for it

    # printf %s TOKEN | sha256sum | cut -c -6
    Examples:
      | name   | token                 | fingerprint  |
      | first  | correct-horse-battery | token:622493 |
      | second | staple-staple-staple  | token:88a20d |
      | third  | 0123456789abcdef      | token:9f9f51 |

  @server_auth.scheme_in_any_case
  Scenario Outline: The scheme is written <scheme>
    Given a server that has 3 tokens
    When somebody asks with "<scheme> correct-horse-battery"
    Then it gets 200

    Examples:
      | scheme |
      | bearer |
      | BEARER |
      | bEaReR |

  @server_auth.a_scheme_and_a_token
  Scenario Outline: A right token in a header that has more than it
    Given a server that has 3 tokens
    When somebody asks with "<header>"
    Then it gets 401

    Examples:
      | header                                             |
      | foo Bearer correct-horse-battery                   |
      | Bearer wrong-wrong-wrong-1 correct-horse-battery   |
      | Bearer correct-horse-battery, Bearer wrong-wrong-1 |
      | Bearer correct-horse-battery wrong-wrong-wrong-1   |

  @server_auth.a_scheme_and_a_token
  Scenario: A right token in a header of more than 8 KiB
    Given a server that has 3 tokens
    When a right token is sent behind 9000 spaces
    Then it gets 401

  @server_auth.no_token_is_no_entry
  Scenario Outline: Somebody comes with <what>
    Given a server that has 3 tokens
    When somebody asks with <what>
    Then it gets 401, and hears the scheme Bearer

    Examples:
      | what            |
      | no header       |
      | an empty header |
      | "Bearer"        |
      | "bearer "       |

  @server_auth.every_door_is_closed
  Scenario: Each address but those for who watches the server asks for a token
    Given a server that has 3 tokens
    When each address is asked without a token
      | method | address              |
      | POST   | /v1/completions      |
      | POST   | /v1/chat/completions |
      | GET    | /v1/models           |
      | POST   | /tokenize            |
      | POST   | /detokenize          |
      | POST   | /execute             |
      | POST   | /cancel              |
      | GET    | /metrics             |
    Then each address answers 401

  @server_auth.sixteen_characters
  Scenario Outline: A token of <count> characters is too short
    When a server is started with a token of <count> characters
    Then it does not start: the token has <count> characters

    Examples:
      | count |
      | 0     |
      | 1     |
      | 15    |

  @server_auth.no_other_machine_without_a_token
  Scenario Outline: A server without a token does not listen on <host>
    When a server is started on <host> without a token
    Then it does not start: there is no token

    Examples:
      | host             |
      | 0.0.0.0          |
      | ::               |
      | 127.0.0.2        |
      | 127.evil.example |

  @server_auth.file_is_private
  Scenario Outline: A file of tokens with permissions <mode> is refused
    When a server is started with a file of 3 tokens and permissions <mode>
    Then it does not start: has permissions <mode>

    Examples:
      | mode |
      | 644  |
      | 640  |
      | 620  |
      | 601  |

  @server_auth.read_again_as_a_whole
  Scenario: Tokens that are taken out of the file are refused
    Given a server that has a file of 3 tokens
    When the file becomes "second: staple-staple-staple", and the server reads it again
    Then first gets 401, second 200, third 401, and nobody 401

  @server_auth.read_again_as_a_whole
  Scenario: A file that is broken changes nothing
    Given a server that has a file of 3 tokens
    When the file becomes "first correct-horse-battery", and the server reads it again
    Then first gets 200, second 200, third 200, and nobody 401

  @server_auth.token_never_told
  Scenario: No log has six characters of a token that was sent
    Given a server that has 3 tokens
    When the tokens "correct-horse-battery" and "wrong-wrong-wrong-1" are sent
    Then no log has six characters of either of them

  @server_auth.places_of_each_token
  Scenario: A token that has all its places taken leaves those of others
    Given a slow server that has 3 tokens, each with 1 place
    When the first token has a stream of 200 tokens, and then the first and the second ask once
    Then they are answered with 429 and 200

  @server_auth.place_given_back
  Scenario: A place is free when its client went away
    Given a slow server that has 3 tokens, each with 2 places
    When the client of the first token goes away from 3 streams of 200 tokens, and asks once more
    Then it gets 200
