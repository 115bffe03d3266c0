<?php
// PHP makes the queue that Python then looks at; prints nothing of it.
// Asked: key, and mode (PHP's own default without it).

$asked = json_decode($argv[1], true);
isset($asked['mode']) ? msg_get_queue($asked['key'], $asked['mode']) : msg_get_queue($asked['key']);
echo '{}';
