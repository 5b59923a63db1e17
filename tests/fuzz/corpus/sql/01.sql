 -- only a comment
;