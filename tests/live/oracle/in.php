<?php
// What planfix-in.php tells: phone, ext, callid.
require __DIR__ . '/request.php';

[, $phone, $ext, $callid] = $argv;
event('INCOMING', $phone, $ext, $callid);
